package dev.forkd.http.e2b;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Exchange;
import dev.forkd.http.Failures;
import dev.forkd.http.Head;
import dev.forkd.http.Router;
import dev.forkd.http.Surface;
import io.helidon.http.HeaderNames;
import java.time.InstantSource;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/**
 * The control plane as a surface. Clients go by the status and by the number {@code code} in the
 * body, which is always the status.
 */
public final class E2bApi implements Surface {
  /** The first segments of its paths; none of forkd's own routes begins so. */
  private static final Set<String> ROOTS =
      Set.of("sandboxes", "snapshots", "templates", "volumes", "secrets", "teams");

  /** The detail of a failure that names its reason in E2B's words. */
  static final String REASON = "error_code";

  private static final Set<String> VERSIONS = Set.of("v2", "v3");

  private final KeyCheck key;
  private final Router router;

  /**
   * The control plane over an engine.
   *
   * @param domain what sandboxes' host names end with; empty when clients are to use their own
   */
  public E2bApi(
      ForkdEngine engine, String daemonToken, Optional<String> domain, InstantSource clock) {
    this.key = new KeyCheck(daemonToken);
    Templates templates = new Templates(engine);
    Views views = new Views(domain);
    this.router =
        new Router(
            Stream.of(
                    // Before what would take "metrics" for a sandbox.
                    new HistoryControl(engine.hosted()).routes(),
                    new SandboxControl(engine, templates, views, clock).routes(),
                    new SnapshotControl(engine, templates).routes())
                .flatMap(List::stream)
                .toList());
  }

  @Override
  public boolean takes(Head head) {
    String[] segments = head.rawPath().split("/", 4);
    if (segments.length < 2) {
      return false;
    }
    return VERSIONS.contains(segments[1])
        ? segments.length > 2 && ROOTS.contains(segments[2])
        : ROOTS.contains(segments[1]);
  }

  @Override
  public String serve(Exchange exchange) {
    String name = "none";
    try {
      key.check(exchange);
      exchange.authenticated();
      switch (router.find(exchange.method(), exchange.rawPath())) {
        case Router.Match.Found(var route, var segments) -> {
          name = "e2b " + route.method() + " " + route.pattern();
          exchange.matched(segments);
          route.handler().handle(exchange);
        }
        case Router.Match.WrongMethod _, Router.Match.UnknownPath _ ->
            throw new ForkdException(
                ErrorCode.UNIMPLEMENTED,
                exchange.method()
                    + " "
                    + exchange.rawPath()
                    + " is not offered by this server; docs/E2B.md lists what is");
      }
    } catch (ClientGoneException e) {
      throw e;
    } catch (RuntimeException e) {
      if (exchange.started()) {
        throw e;
      }
      answer(exchange, e);
    }
    return name;
  }

  /** What nobody has foreseen has the same shape: clients break on any other. */
  private static void answer(Exchange exchange, RuntimeException failure) {
    Failures.Rendered told = Failures.render(failure, exchange.requestId());
    told.retryAfterSeconds()
        .ifPresent(seconds -> exchange.header(HeaderNames.RETRY_AFTER, "" + seconds));
    int status = told.status();
    Optional<String> reason = Optional.empty();
    if (failure instanceof ForkdException known) {
      status = status(known.code());
      reason = Optional.ofNullable(known.details().get(REASON));
    }
    Messages.write(exchange, status, new Messages.Problem(status, told.message(), reason));
  }

  /** Clients wait and try again by themselves on 429, with the time that Retry-After names. */
  static int status(ErrorCode code) {
    return code == ErrorCode.RESOURCE_EXHAUSTED ? 429 : code.httpStatus();
  }

  @Override
  public void close() {}
}
