package dev.forkd.http;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.ErrorBody;
import dev.forkd.api.rest.Json;
import dev.forkd.metrics.Meters;
import io.helidon.common.configurable.Resource;
import io.helidon.common.pki.Keys;
import io.helidon.common.tls.Tls;
import io.helidon.http.DirectHandler;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.WebServer;
import io.helidon.webserver.http.HttpRouting;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import io.helidon.webserver.http1.Http1Config;
import io.helidon.webserver.http1.Http1ConnectionSelector;
import io.helidon.webserver.spi.ServerConnectionSelector;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.security.cert.X509Certificate;
import java.time.Duration;
import java.time.InstantSource;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The listening server. Each request passes audit, then admission, then authentication, then the
 * router, so that refusals are in the audit log, and an unknown path without a token is 401. One
 * shot: a stopped server cannot be started again.
 */
public final class HttpServer implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(HttpServer.class);
  private static final HeaderName REQUEST_ID = HeaderNames.create("x-request-id");
  private static final Pattern LEGAL_REQUEST_ID = Pattern.compile("[A-Za-z0-9._-]{1,64}");

  private final ServerConfig config;
  private final Router router;
  private final BearerAuth auth;
  private final AuditLog audit;
  private final Meters meters;
  private final InstantSource clock;
  private final LongSupplier nanoClock;
  private final Activity activity;
  private final TransferGuard transfers;
  private final List<Surface> surfaces;
  private final Connections connections;
  private final HeapBudget bodies = HeapBudget.forBodies();
  private final WebServer server;
  private final Optional<X509Certificate> certificate;
  private volatile int port; // Set once by start; kept, as a stopped server has none.

  private HttpServer(
      ServerConfig config,
      Router router,
      List<Surface> surfaces,
      Meters meters,
      InstantSource clock,
      LongSupplier nanoClock) {
    this.config = config;
    this.router = router;
    this.surfaces = List.copyOf(surfaces);
    this.meters = meters;
    this.clock = clock;
    this.nanoClock = nanoClock;
    this.auth = new BearerAuth(config.token());
    this.activity = new Activity(nanoClock);
    Optional<Tls> tls = config.tls().map(HttpServer::loadTls);
    this.certificate = tls.map(loaded -> loaded.prototype().privateKeyCertChain().getFirst());
    this.audit = AuditLog.open(config.auditLog());
    meters.auditFailures(audit::failures);
    this.transfers = new TransferGuard(config.patience());
    this.connections = new Connections(selector(), config);
    var builder =
        WebServer.builder()
            .address(config.bind().getAddress())
            .port(config.bind().getPort())
            .shutdownHook(false)
            .shutdownGracePeriod(Duration.ofSeconds(1))
            .maxTcpConnections(config.connectionsMax())
            .idleConnectionTimeout(config.patience())
            .idleConnectionPeriod(config.patience().dividedBy(4))
            .connectionOptions(options -> options.tcpNoDelay(true).socketKeepAlive(true))
            .featuresDiscoverServices(false)
            .protocolsDiscoverServices(false)
            .contentEncoding(new RawBodies())
            .addConnectionSelector(connections)
            .directHandlers(handlers -> {
              for (DirectHandler.EventType event : DirectHandler.EventType.values()) {
                handlers.addHandler(event, HttpServer::refuse);
              }
            })
            .routing(HttpRouting.builder().any(this::serve));
    tls.ifPresent(builder::tls);
    this.server = builder.build();
  }

  private ServerConnectionSelector selector() {
    var selector =
        Http1ConnectionSelector.builder()
            .config(
                Http1Config.builder()
                    .maxPrologueLength(Limits.REQUEST_LINE_BYTES_MAX)
                    .maxHeadersSize(Limits.HEADERS_BYTES_MAX)
                    .build());
    for (String protocol : Takeovers.PROTOCOLS) {
      selector.putUpgrader(
          protocol,
          new Takeovers(protocol, surfaces, this::connections, activity, transfers, this::took));
    }
    return selector.build();
  }

  /** The connections, which are not there yet when the upgraders are made. */
  private Connections connections() {
    return connections;
  }

  /** Writes down a request that took its connection over. */
  private void took(Head head, int status, Duration time) {
    audit.record(
        clock.instant(),
        head.method(),
        head.rawPath(),
        status,
        time.toNanos() / 1000,
        head.header(HeaderNames.USER_AGENT).orElse(""),
        HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong()));
    meters.request("takeover", status, time);
  }

  /** Starts to listen, for the forkd REST interface only. */
  public static HttpServer start(
      ServerConfig config,
      Router router,
      Meters meters,
      InstantSource clock,
      LongSupplier nanoClock) {
    return start(config, router, List.of(), meters, clock, nanoClock);
  }

  /**
   * Starts to listen.
   *
   * @param surfaces asked in this order before the router is; closed with the server
   */
  public static HttpServer start(
      ServerConfig config,
      Router router,
      List<Surface> surfaces,
      Meters meters,
      InstantSource clock,
      LongSupplier nanoClock) {
    HttpServer server = new HttpServer(config, router, surfaces, meters, clock, nanoClock);
    server.server.start();
    if (!server.server.isRunning()) {
      // The library logs why and goes on; we cannot.
      server.audit.close();
      server.transfers.close();
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "cannot listen on "
              + config.bind()
              + " ("
              + whyNot(config.bind())
              + "); choose another address with --bind");
    }
    server.port = server.server.port();
    return server;
  }

  /** What the system says to the same wish. */
  private static String whyNot(InetSocketAddress bind) {
    try (ServerSocket probe = new ServerSocket()) {
      probe.bind(bind);
      return "the reason is in the log";
    } catch (IOException e) {
      return String.valueOf(e.getMessage());
    }
  }

  private static String rootMessage(Throwable failure) {
    Throwable root = failure;
    while (root.getCause() != null) {
      root = root.getCause();
    }
    return String.valueOf(root.getMessage());
  }

  private static Tls loadTls(ServerConfig.TlsFiles files) {
    try {
      Resource certificates =
          Resource.create("certificate", Files.readAllBytes(files.certificate()));
      Resource key = Resource.create("key", Files.readAllBytes(files.key()));
      Keys keys = Keys.builder().pem(pem -> pem.key(key).certChain(certificates)).build();
      return Tls.create(tls -> tls.privateKey(keys).privateKeyCertChain(keys));
    } catch (IOException | RuntimeException e) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "cannot use the TLS certificate "
              + files.certificate()
              + " with the key "
              + files.key()
              + ": "
              + rootMessage(e)
              + "; both must be PEM, the key PKCS 8 and not encrypted",
          e);
    }
  }

  private void serve(ServerRequest request, ServerResponse response) {
    long beginNanos = nanoClock.getAsLong();
    String rawPath = request.prologue().uriPath().rawPath();
    String requestId = requestId(request);
    Exchange exchange =
        new Exchange(
            request, response, rawPath, requestId, transfers, connections.inbound(), bodies);
    exchange.header(REQUEST_ID, requestId);
    String route = "none";
    connections.serving(true);
    try {
      route = admit(exchange);
    } finally {
      exchange.release();
      long micros = TimeUnit.NANOSECONDS.toMicros(nanoClock.getAsLong() - beginNanos);
      audit.record(
          clock.instant(),
          exchange.method(),
          rawPath,
          exchange.status(),
          micros,
          exchange.header(HeaderNames.USER_AGENT).orElse(""),
          requestId);
      meters.request(
          route, exchange.status(), Duration.of(micros, java.time.temporal.ChronoUnit.MICROS));
      // Last: from here on this thread may be interrupted, as the connection has nothing to lose.
      connections.served(exchange.isAuthenticated());
    }
  }

  private static String requestId(ServerRequest request) {
    if (request.headers().contains(REQUEST_ID)) {
      String given = request.headers().get(REQUEST_ID).get();
      if (LEGAL_REQUEST_ID.matcher(given).matches()) {
        return given;
      }
    }
    return HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong());
  }

  private String admit(Exchange exchange) {
    switch (activity.enter()) {
      case FULL ->
          fail(
              exchange,
              new ForkdException(
                  ErrorCode.RESOURCE_EXHAUSTED,
                  Limits.REQUESTS_MAX + " requests are being served; try again"));
      case DRAINING -> {
        exchange.closeConnection();
        fail(
            exchange,
            new ForkdException(ErrorCode.UNAVAILABLE, "the daemon is stopping; try again"));
      }
      case ADMITTED -> {
        try {
          return route(exchange);
        } finally {
          activity.leave();
        }
      }
    }
    return "none";
  }

  @SuppressWarnings("CatchingUnchecked") // Whatever a route throws becomes an answer here.
  private String route(Exchange exchange) {
    String name = "none";
    try {
      for (Surface surface : surfaces) {
        if (surface.takes(exchange)) {
          name = surface.serve(exchange);
          if (!exchange.started()) {
            throw new IllegalStateException("surface route " + name + " did not answer");
          }
          return name;
        }
      }
      if (!BearerAuth.isExempt(exchange.rawPath())) {
        auth.check(exchange.header(HeaderNames.AUTHORIZATION));
        exchange.authenticated();
      }
      refuseEncodedBody(exchange);
      switch (router.find(exchange.method(), exchange.rawPath())) {
        case Router.Match.Found found -> {
          name = found.route().method() + " " + found.route().pattern();
          exchange.matched(found.segments());
          found.route().handler().handle(exchange);
          if (!exchange.started()) {
            throw new IllegalStateException("route " + name + " did not answer");
          }
        }
        case Router.Match.WrongMethod wrong -> {
          exchange.header(HeaderNames.ALLOW, String.join(", ", wrong.allowed()));
          throw new HttpFailure(
              405,
              ErrorCode.INVALID_ARGUMENT,
              exchange.method() + " is not possible here; allowed: " + wrong.allowed());
        }
        case Router.Match.UnknownPath _ ->
            throw new ForkdException(
                ErrorCode.NOT_FOUND, "no route " + exchange.method() + " " + exchange.rawPath());
      }
    } catch (Exception e) {
      fail(exchange, e);
    } catch (LinkageError | StackOverflowError e) {
      fail(exchange, e);
    }
    return name;
  }

  /** No route of the REST interface undoes a compression. */
  private static void refuseEncodedBody(Exchange exchange) {
    Optional<String> encoding = exchange.header(HeaderNames.CONTENT_ENCODING);
    if (encoding.isPresent() && !encoding.get().equalsIgnoreCase("identity")) {
      throw new HttpFailure(
          415,
          ErrorCode.INVALID_ARGUMENT,
          "a body with a Content-Encoding is not read here; send it as it is");
    }
  }

  private static void fail(Exchange exchange, Throwable failure) {
    Failures.Rendered rendered = Failures.render(failure, exchange.requestId());
    if (exchange.started()) {
      // Too late for a status: end without the last chunk, so the client knows that it is cut off.
      LOG.debug("request {} was cut off: {}", exchange.requestId(), rendered.message());
      throw new CloseConnectionException(rendered.message(), failure);
    }
    rendered
        .retryAfterSeconds()
        .ifPresent(seconds -> exchange.header(HeaderNames.RETRY_AFTER, Integer.toString(seconds)));
    try {
      exchange.json(rendered.status(), rendered.body());
    } catch (ClientGoneException e) {
      // Nobody is there to be told.
      throw new CloseConnectionException(rendered.message(), e);
    }
  }

  /** Answers what is so malformed that it does not reach the router. */
  private static DirectHandler.TransportResponse refuse(
      DirectHandler.TransportRequest request,
      DirectHandler.EventType event,
      io.helidon.http.Status status,
      io.helidon.http.ServerResponseHeaders headers,
      @Nullable String message) {
    // Our own defects are answered by the routes; what comes here was cut off or is no request.
    io.helidon.http.Status told =
        event == DirectHandler.EventType.INTERNAL_ERROR
            ? io.helidon.http.Status.BAD_REQUEST_400
            : status;
    byte[] body =
        Json.write(
            ErrorBody.of(
                ErrorCode.fromHttpStatus(told.code()),
                message == null || message.isEmpty()
                    ? "not a request that can be read: " + told.reasonPhrase()
                    : message));
    return DirectHandler.TransportResponse.builder()
        .status(told)
        .headers(headers)
        .header(REQUEST_ID, HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong()))
        .header(HeaderNames.CONTENT_TYPE, "application/json")
        .keepAlive(event.keepAlive())
        .entity(body)
        .build();
  }

  /** What is held of all requests' bodies. */
  HeapBudget bodies() {
    return bodies;
  }

  public int port() {
    return port;
  }

  /** Where a client on this host reaches the server. */
  public String url() {
    InetSocketAddress bind = config.bind();
    String host =
        bind.getAddress() == null || bind.getAddress().isAnyLocalAddress()
            ? "127.0.0.1"
            : bind.getAddress().getHostAddress();
    String bracketed = host.contains(":") ? "[" + host + "]" : host;
    return (config.tls().isPresent() ? "https" : "http") + "://" + bracketed + ":" + port();
  }

  /** The certificate that clients are shown; none without TLS. */
  public Optional<X509Certificate> certificate() {
    return certificate;
  }

  public Activity activity() {
    return activity;
  }

  /** Refuses new requests, waits for those under way, then stops listening. */
  public void stop(Duration drainTimeout) {
    surfaces.forEach(Surface::close);
    try {
      if (!activity.drain(drainTimeout)) {
        LOG.warn("some requests did not end within {} s and are cut off", drainTimeout.toSeconds());
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    server.stop();
    transfers.close();
    audit.close();
  }

  @Override
  public void close() {
    stop(Duration.ZERO);
  }
}
