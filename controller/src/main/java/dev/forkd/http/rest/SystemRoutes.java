package dev.forkd.http.rest;

import dev.forkd.api.rest.Health;
import dev.forkd.api.rest.RecoveryInfo;
import dev.forkd.api.rest.VersionInfo;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.RecoveryReport;
import dev.forkd.http.Exchange;
import dev.forkd.http.Route;
import dev.forkd.metrics.Meters;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** The daemon itself: alive, version, metrics, recovery, shutdown. */
final class SystemRoutes {
  private final ForkdEngine engine;
  private final Meters meters;
  private final String version;
  private final Runnable shutdown;

  SystemRoutes(ForkdEngine engine, Meters meters, String version, Runnable shutdown) {
    this.engine = engine;
    this.meters = meters;
    this.version = version;
    this.shutdown = shutdown;
  }

  List<Route> routes() {
    return List.of(
        new Route("GET", "/healthz", exchange -> exchange.json(200, new Health(true))),
        new Route(
            "GET", "/version", exchange -> exchange.json(200, new VersionInfo(version, "v1"))),
        new Route("GET", "/metrics", this::metrics),
        new Route("GET", "/v1/recovery", this::recovery),
        new Route("POST", "/v1/admin/shutdown", this::stop));
  }

  private void metrics(Exchange exchange) {
    exchange.bytes(
        200, Meters.CONTENT_TYPE, meters.scrape(engine.stats()).getBytes(StandardCharsets.UTF_8));
  }

  private void recovery(Exchange exchange) {
    RecoveryReport report = engine.recovery();
    exchange.json(200, new RecoveryInfo(report.adopted(), report.settled(), report.reaped()));
  }

  private void stop(Exchange exchange) {
    exchange.json(202, new Health(true));
    shutdown.run();
  }
}
