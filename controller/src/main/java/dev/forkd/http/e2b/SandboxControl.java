package dev.forkd.http.e2b;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.HostedSandboxes;
import dev.forkd.engine.HostedSandboxes.HostedOutcome;
import dev.forkd.engine.HostedSandboxes.PauseMode;
import dev.forkd.engine.HostedSpec;
import dev.forkd.engine.HostedView;
import dev.forkd.http.Exchange;
import dev.forkd.http.Route;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.atomic.AtomicReference;

/** The life of sandboxes: made, found, paused, resumed, forked, ended. */
final class SandboxControl {
  private static final HeaderName NEXT_TOKEN = HeaderNames.create("x-next-token");
  private static final HeaderName TOTAL_RUNNING = HeaderNames.create("x-total-running");
  private static final HeaderName IDEMPOTENCY_KEY = HeaderNames.create("idempotency-key");
  private static final Duration DEFAULT_TIMEOUT = Duration.ofMinutes(5);

  /** Of the first generation, whose clients send one. */
  private static final Duration FIRST_DEFAULT_TIMEOUT = Duration.ofSeconds(15);

  private static final int FORKS_MAX = 100;

  private final HostedSandboxes hosted;
  private final Templates templates;
  private final Views views;
  private final Repeats creations;

  SandboxControl(ForkdEngine engine, Templates templates, Views views, InstantSource clock) {
    this.hosted = engine.hosted();
    this.templates = templates;
    this.views = views;
    this.creations = new Repeats(clock);
  }

  List<Route> routes() {
    return List.of(
        new Route("POST", "/v2/sandboxes", exchange -> create(exchange, DEFAULT_TIMEOUT, true)),
        new Route("POST", "/sandboxes", exchange -> create(exchange, FIRST_DEFAULT_TIMEOUT, false)),
        new Route("GET", "/v2/sandboxes", this::list),
        new Route("GET", "/sandboxes", this::listRunning),
        new Route("GET", "/sandboxes/{id}", this::get),
        new Route("DELETE", "/sandboxes/{id}", this::kill),
        new Route("POST", "/sandboxes/{id}/timeout", this::timeout),
        new Route("POST", "/sandboxes/{id}/refreshes", this::refresh),
        new Route("POST", "/sandboxes/{id}/pause", this::pause),
        new Route("POST", "/v2/sandboxes/{id}/connect", this::connect),
        new Route("POST", "/sandboxes/{id}/connect", this::connect),
        new Route("POST", "/sandboxes/{id}/resume", this::resume),
        new Route("POST", "/sandboxes/{id}/fork", this::fork),
        new Route("PUT", "/sandboxes/{id}/network", this::network));
  }

  /** Old clients know an id with the node behind a dash. */
  static String id(Exchange exchange) {
    String id = exchange.segment("id");
    int dash = id.indexOf('-');
    return dash < 0 ? id : id.substring(0, dash);
  }

  private void create(Exchange exchange, Duration defaultTimeout, boolean secured) {
    Messages.CreateSandbox wish = Messages.read(exchange, Messages.CreateSandbox.class);
    AtomicReference<Optional<HostedView>> made = new AtomicReference<>(Optional.empty());
    String id =
        creations.once(
            exchange.header(IDEMPOTENCY_KEY),
            Messages.fingerprint(wish),
            () -> {
              HostedView view =
                  hosted.create(Creation.spec(wish, templates, defaultTimeout, secured));
              made.set(Optional.of(view));
              return view.id();
            });
    Messages.write(exchange, 201, views.sandbox(made.get().orElseGet(() -> madeBefore(id))));
  }

  private HostedView madeBefore(String id) {
    try {
      return hosted.get(id);
    } catch (ForkdException e) {
      throw e.code() == ErrorCode.NOT_FOUND
          ? new ForkdException(
              ErrorCode.FAILED_PRECONDITION,
              "sandbox "
                  + id
                  + " was made under this Idempotency-Key and has ended since; take another key",
              e)
          : e;
    }
  }

  private void list(Exchange exchange) {
    List<HostedView> all = hosted.list();
    Listing.Page<HostedView> page = Listing.sandboxes(exchange, all);
    page.next().ifPresent(token -> exchange.header(NEXT_TOKEN, token));
    exchange.header(
        TOTAL_RUNNING, Long.toString(all.stream().filter(view -> !view.paused()).count()));
    Messages.write(exchange, 200, page.items().stream().map(views::info).toList());
  }

  private void listRunning(Exchange exchange) {
    var wanted = Listing.metadata(exchange.query("metadata"));
    Messages.write(
        exchange,
        200,
        hosted.list().stream()
            .filter(view -> !view.paused())
            .filter(wanted)
            .map(views::info)
            .toList());
  }

  private void get(Exchange exchange) {
    Messages.write(exchange, 200, views.detail(hosted.get(id(exchange))));
  }

  private void kill(Exchange exchange) {
    hosted.kill(id(exchange));
    exchange.empty(204);
  }

  private void timeout(Exchange exchange) {
    Messages.Timeout wish = Messages.read(exchange, Messages.Timeout.class);
    if (wish.timeout().isEmpty()) {
      throw Listing.invalid("timeout is missing: seconds from now");
    }
    runningOnly(() -> hosted.setTimeout(id(exchange), seconds(wish.timeout(), Duration.ZERO)));
    exchange.empty(204);
  }

  private void refresh(Exchange exchange) {
    Messages.Refresh wish = Messages.read(exchange, Messages.Refresh.class);
    runningOnly(() -> hosted.extend(id(exchange), seconds(wish.duration(), FIRST_DEFAULT_TIMEOUT)));
    exchange.empty(204);
  }

  /** For clients, one that is paused has no end that could be moved. */
  private static void runningOnly(Runnable change) {
    try {
      change.run();
    } catch (ForkdException e) {
      throw e.code() == ErrorCode.FAILED_PRECONDITION
          ? new ForkdException(ErrorCode.NOT_FOUND, e.message(), e)
          : e;
    }
  }

  private static Duration seconds(OptionalLong wish, Duration otherwise) {
    return wish.isPresent() ? Duration.ofSeconds(Math.max(0, wish.getAsLong())) : otherwise;
  }

  private void pause(Exchange exchange) {
    Messages.Pause wish = Messages.read(exchange, Messages.Pause.class);
    try {
      hosted.pause(id(exchange), mode(wish.memory()));
    } catch (ForkdException e) {
      throw pauseFailure(exchange, e);
    }
    exchange.empty(204);
  }

  /** Clients take 409 for "it is paused already", whatever the body says. */
  private ForkdException pauseFailure(Exchange exchange, ForkdException failure) {
    return switch (failure.code()) {
      case ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED, DEADLINE_EXCEEDED ->
          hosted.get(id(exchange)).paused() && failure.code() == ErrorCode.ALREADY_EXISTS
              ? failure
              : new ForkdException(
                  ErrorCode.UNAVAILABLE,
                  "sandbox "
                      + id(exchange)
                      + " could not be paused, try again: "
                      + failure.message(),
                  failure);
      default -> failure;
    };
  }

  static PauseMode mode(Optional<Boolean> memory) {
    return memory.orElse(true) ? PauseMode.MEMORY : PauseMode.DISK;
  }

  private void connect(Exchange exchange) {
    Messages.Timeout wish = Messages.read(exchange, Messages.Timeout.class);
    boolean resumed =
        hosted.resume(
            id(exchange), seconds(wish.timeout(), DEFAULT_TIMEOUT), !wish.memory().orElse(true));
    Messages.write(exchange, resumed ? 201 : 200, views.sandbox(hosted.get(id(exchange))));
  }

  private void resume(Exchange exchange) {
    Messages.Timeout wish = Messages.read(exchange, Messages.Timeout.class);
    HostedView view = hosted.get(id(exchange));
    if (!view.paused()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION, "sandbox " + id(exchange) + " is running already");
    }
    if (wish.autoPause().orElse(false) && view.spec().atEnd() == HostedSpec.AtEnd.KILL) {
      throw Listing.invalid(
          "autoPause: sandbox "
              + view.id()
              + " was made to be killed at its end, which cannot be changed; pause it before");
    }
    hosted.resume(
        view.id(), seconds(wish.timeout(), FIRST_DEFAULT_TIMEOUT), !wish.memory().orElse(true));
    Messages.write(exchange, 201, views.sandbox(hosted.get(id(exchange))));
  }

  private void fork(Exchange exchange) {
    Messages.Fork wish = Messages.read(exchange, Messages.Fork.class);
    long count = wish.count().orElse(1);
    if (count < 1 || count > FORKS_MAX) {
      throw Listing.invalid("count must be 1 to " + FORKS_MAX + ", not " + count);
    }
    List<Messages.ForkResult> results = new ArrayList<>();
    for (HostedOutcome outcome :
        hosted.fork(
            id(exchange),
            (int) count,
            seconds(wish.timeout(), FIRST_DEFAULT_TIMEOUT),
            Attributes::ofFork)) {
      results.add(
          switch (outcome) {
            case HostedOutcome.Made(HostedView sandbox) ->
                new Messages.ForkResult(Optional.of(views.sandbox(sandbox)), Optional.empty());
            case HostedOutcome.Failed(ErrorCode code, String message) ->
                new Messages.ForkResult(
                    Optional.empty(),
                    Optional.of(
                        new Messages.Problem(E2bApi.status(code), message, Optional.empty())));
          });
    }
    Messages.write(exchange, 201, results);
  }

  private void network(Exchange exchange) {
    Messages.Network wish = Messages.read(exchange, Messages.Network.class);
    if (hosted.get(id(exchange)).paused()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION, "sandbox " + id(exchange) + " is paused");
    }
    Creation.requireOffered(wish);
    exchange.empty(204);
  }
}
