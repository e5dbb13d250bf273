package dev.forkd.http.rest;

import dev.forkd.api.rest.SetPool;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.Pools;
import dev.forkd.http.Exchange;
import dev.forkd.http.Route;
import java.util.List;

/** Pools: list, look at, set. */
final class PoolRoutes {
  private final Pools pools;

  PoolRoutes(ForkdEngine engine) {
    this.pools = engine.pools();
  }

  List<Route> routes() {
    return List.of(
        new Route("GET", "/v1/pools", this::list),
        new Route("GET", "/v1/snapshots/{tag}/pool", this::get),
        new Route("PUT", "/v1/snapshots/{tag}/pool", this::set));
  }

  private void list(Exchange exchange) {
    exchange.json(200, pools.list().stream().map(Views::pool).toList());
  }

  private void get(Exchange exchange) {
    exchange.json(200, Views.pool(pools.get(exchange.tag())));
  }

  private void set(Exchange exchange) {
    SetPool body = exchange.body(SetPool.class);
    if (body.size().isEmpty()) {
      throw Checks.invalid("size is missing; send 0 to " + Pools.MAX_SIZE);
    }
    int size = Math.toIntExact(Checks.inRange("size", body.size().getAsLong(), 0, Pools.MAX_SIZE));
    exchange.json(200, Views.pool(pools.set(exchange.tag(), size, body.prewarm())));
  }
}
