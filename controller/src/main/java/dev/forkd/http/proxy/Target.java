package dev.forkd.http.proxy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.rest.Json;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.HostedSandboxes;
import dev.forkd.engine.HostedView;
import dev.forkd.engine.SandboxView;
import dev.forkd.http.Head;
import dev.forkd.http.e2b.Attributes;
import dev.forkd.http.envd.Access;
import dev.forkd.http.envd.Envd;
import dev.forkd.http.envd.Guest;
import dev.forkd.http.envd.RestFailure;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.time.Duration;
import java.util.Base64;
import java.util.Optional;

/** A sandbox that requests can be for, and what they must show. */
sealed interface Target {
  String id();

  /**
   * Lets a request to one of its ports in or not.
   *
   * @throws ForkdException UNAUTHENTICATED when it may not
   */
  void check(Head head, int port, Access access);

  /** Whether a request shows a secret of the sandbox, needed or not. */
  boolean isShown(Head head);

  /**
   * The sandbox, running. To be called after {@link #check}.
   *
   * @throws ForkdException NOT_FOUND when it does not run, and is not to be resumed for this
   */
  Guest awake(Head head);

  /** The host that a server in it is to see instead of the one that the client named. */
  default Optional<String> maskedHost(int port) {
    return Optional.empty();
  }

  /** Header lines that a server in it gets beside the client's, each with its end. */
  default String addedHeaders(int port) {
    return "";
  }

  /** What the request shows for us alone, and the guest must not see. */
  boolean isOurs(String headerName, String value);

  /** The one with this id; empty when there is none. */
  static Optional<Target> find(ForkdEngine engine, String daemonToken, String id) {
    try {
      return Optional.of(new Hosted(engine, engine.hosted().get(id)));
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.NOT_FOUND) {
        throw e;
      }
    }
    if (!SandboxId.isLegal(id)) {
      return Optional.empty();
    }
    try {
      SandboxView view = engine.sandbox(new SandboxId(id));
      return view.failure().isPresent()
          ? Optional.empty()
          : Optional.of(new Plain(engine, daemonToken, view));
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.NOT_FOUND) {
        throw e;
      }
      return Optional.empty();
    }
  }

  /** One with a life of its own: it may be paused, and its ports but one are open to everybody. */
  record Hosted(ForkdEngine engine, HostedView view) implements Target {
    /** What one that a request has resumed is given at least. */
    private static final Duration LEAST_TIMEOUT = Duration.ofMinutes(5);

    private static final int INTERPRETER_PORT = 49999;

    /** Ours alone to say. */
    private static final String ENVIRONMENT = "x-sandbox-env";

    private static final HeaderName TRAFFIC_TOKEN = HeaderNames.create("e2b-traffic-access-token");

    @Override
    public String id() {
      return view.id();
    }

    @Override
    public void check(Head head, int port, Access access) {
      if (port != Envd.PORT) {
        Attributes.trafficToken(view.spec()).ifPresent(token -> checkTraffic(head, token));
      } else if (!head.rawPath().equals(Envd.HEALTH)) {
        view.accessToken().ifPresent(token -> access.check(head, token));
      }
    }

    @Override
    public boolean isShown(Head head) {
      return view.accessToken().filter(token -> Access.shows(head, token)).isPresent()
          || Attributes.trafficToken(view.spec())
              .filter(token -> showsTraffic(head, token))
              .isPresent();
    }

    @Override
    public Guest awake(Head head) {
      if (view.paused() && (!view.spec().resumesBySelf() || isMereLook(head))) {
        throw new ForkdException(ErrorCode.NOT_FOUND, "sandbox " + id() + " is paused");
      }
      HostedSandboxes hosted = engine.hosted();
      SandboxId sandbox = hosted.awake(id(), LEAST_TIMEOUT);
      return new Guest(
          id(),
          sandbox,
          engine,
          Attributes.environment(id(), view.spec()),
          action -> hosted.onStop(id(), sandbox, action)::close);
    }

    /** Whoever shows nothing may ask how it is, but not wake it. */
    private boolean isMereLook(Head head) {
      return head.rawPath().equals(Envd.HEALTH)
          && view.accessToken().filter(token -> !Access.shows(head, token)).isPresent();
    }

    private static boolean showsTraffic(Head head, String token) {
      return head.header(TRAFFIC_TOKEN).filter(given -> Access.same(given, token)).isPresent();
    }

    private static void checkTraffic(Head head, String token) {
      if (!showsTraffic(head, token)) {
        throw new RestFailure(
            403, "this sandbox is not public: send its token as " + TRAFFIC_TOKEN.lowerCase());
      }
    }

    @Override
    public boolean isOurs(String headerName, String value) {
      return headerName.equals(TRAFFIC_TOKEN.lowerCase()) || headerName.equals(ENVIRONMENT);
    }

    /** The code interpreter gives it to the code that it runs. */
    @Override
    public String addedHeaders(int port) {
      return port == INTERPRETER_PORT
          ? ENVIRONMENT
              + ": "
              + Base64.getEncoder()
                  .encodeToString(Json.write(Attributes.environment(id(), view.spec())))
              + "\r\n"
          : "";
    }

    @Override
    public Optional<String> maskedHost(int port) {
      return Attributes.maskHost(view.spec()).map(host -> host.replace("${PORT}", "" + port));
    }
  }

  /** One of forkd's own, of which the daemon's token opens all. */
  record Plain(ForkdEngine engine, String daemonToken, SandboxView view) implements Target {
    private static final String BEARER = "Bearer ";

    @Override
    public String id() {
      return view.id().value();
    }

    @Override
    public void check(Head head, int port, Access access) {
      Optional<String> authorization = head.header(HeaderNames.AUTHORIZATION);
      if (authorization.isEmpty() || !isBearer(authorization.get())) {
        access.check(head, daemonToken);
      }
    }

    /** Nobody comes in without. */
    @Override
    public boolean isShown(Head head) {
      return true;
    }

    private boolean isBearer(String value) {
      return value.startsWith(BEARER)
          && Access.same(value.substring(BEARER.length()).strip(), daemonToken);
    }

    @Override
    public Guest awake(Head head) {
      return new Guest(
          id(),
          view.id(),
          engine,
          Attributes.environment(id(), view.snapshot().value()),
          _ -> () -> {});
    }

    @Override
    public boolean isOurs(String headerName, String value) {
      return (headerName.equals("authorization") && isBearer(value))
          || (headerName.equals("x-access-token") && Access.same(value, daemonToken));
    }
  }
}
