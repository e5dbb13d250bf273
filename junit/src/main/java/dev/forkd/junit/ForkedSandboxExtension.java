package dev.forkd.junit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.rest.EvalResponse;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.Snapshot;
import dev.forkd.sdk.hosted.HostedSandbox;
import java.util.HexFormat;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ExtensionContext.Namespace;
import org.junit.jupiter.api.extension.ExtensionContext.Store;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolutionException;
import org.junit.jupiter.api.extension.ParameterResolver;

/** Forks a sandbox for each parameter that wants one; see {@link ForkedSandbox}. */
public final class ForkedSandboxExtension implements ParameterResolver {
  private static final Namespace NAMESPACE = Namespace.create(ForkedSandboxExtension.class);

  /** The client of a whole run. */
  private record Client(Forkd forkd) implements AutoCloseable {
    static Client connect() {
      Forkd.Builder builder = Forkd.builder();
      String url = System.getProperty("forkd.url");
      String token = System.getProperty("forkd.token");
      if (url != null) {
        builder.url(url);
      }
      if (token != null) {
        builder.token(token);
      }
      return new Client(builder.build());
    }

    @Override
    public void close() {
      forkd.close();
    }
  }

  /** A warmed snapshot, deleted when the run is over. */
  private record Warmed(Snapshot snapshot) implements AutoCloseable {
    @Override
    public void close() {
      try {
        snapshot.delete();
      } catch (ForkdApiException e) {
        // With a daemon that has ended there is nobody to ask, and no reason to fail a run.
        if (e.code() != ErrorCode.UNAVAILABLE && e.code() != ErrorCode.NOT_FOUND) {
          throw e;
        }
      }
    }
  }

  /** A test's sandbox, killed when the test is over. */
  private record Child(Runnable end) implements AutoCloseable {
    @Override
    public void close() {
      end.run();
    }
  }

  @Override
  public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
    return parameter.isAnnotated(ForkedSandbox.class)
        && (isHosted(parameter) || parameter.getParameter().getType() == Sandbox.class);
  }

  private static boolean isHosted(ParameterContext parameter) {
    return parameter.getParameter().getType() == HostedSandbox.class;
  }

  @Override
  public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
    ForkedSandbox wish = parameter.findAnnotation(ForkedSandbox.class).orElseThrow();
    Store run = context.getRoot().getStore(NAMESPACE);
    Forkd forkd = run.computeIfAbsent(Client.class, _ -> Client.connect(), Client.class).forkd();
    Store test = context.getStore(NAMESPACE);
    Optional<Snapshot> warmed =
        wish.warm().isEmpty()
            ? Optional.empty()
            : Optional.of(
                run.computeIfAbsent(
                        wish.template() + "\n" + wish.warm(), _ -> warm(forkd, wish), Warmed.class)
                    .snapshot());
    if (isHosted(parameter)) {
      HostedSandbox hosted =
          HostedSandbox.create(forkd, warmed.map(Snapshot::tag).orElse(wish.template()));
      test.put(hosted.id(), new Child(hosted::close));
      return hosted;
    }
    Sandbox sandbox = warmed.map(Snapshot::fork).orElseGet(() -> forkd.fork(wish.template()));
    test.put(sandbox.id(), new Child(sandbox::close));
    return sandbox;
  }

  private static Warmed warm(Forkd forkd, ForkedSandbox wish) {
    try (Sandbox parent = forkd.fork(wish.template())) {
      EvalResponse outcome = parent.eval(wish.warm());
      if (outcome.error().isPresent()) {
        throw new ParameterResolutionException(
            "the code that should warm '" + wish.template() + "' raised " + outcome.error().get());
      }
      return new Warmed(
          parent.branch(
              "junit-" + HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong())));
    }
  }
}
