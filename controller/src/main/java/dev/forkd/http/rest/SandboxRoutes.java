package dev.forkd.http.rest;

import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.rest.ChildResult;
import dev.forkd.api.rest.CreateSandboxes;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.engine.ChildOutcome;
import dev.forkd.engine.ForkSpec;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.http.Exchange;
import dev.forkd.http.Route;
import dev.forkd.metrics.Meters;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.LongSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Sandboxes: fork, list, look at, ping, kill. */
final class SandboxRoutes {
  private static final Logger LOG = LoggerFactory.getLogger(SandboxRoutes.class);

  private final ForkdEngine engine;
  private final Meters meters;
  private final LongSupplier nanoClock;

  SandboxRoutes(ForkdEngine engine, Meters meters, LongSupplier nanoClock) {
    this.engine = engine;
    this.meters = meters;
    this.nanoClock = nanoClock;
  }

  List<Route> routes() {
    return List.of(
        new Route("GET", "/v1/sandboxes", this::list),
        new Route("POST", "/v1/sandboxes", this::create),
        new Route("GET", "/v1/sandboxes/{id}", this::get),
        new Route("DELETE", "/v1/sandboxes/{id}", this::kill),
        new Route("POST", "/v1/sandboxes/{id}/ping", this::ping));
  }

  private void list(Exchange exchange) {
    exchange.json(200, engine.sandboxes().stream().map(Views::sandbox).toList());
  }

  private void get(Exchange exchange) {
    exchange.json(200, Views.sandbox(engine.sandbox(exchange.sandboxId())));
  }

  private void kill(Exchange exchange) {
    engine.kill(exchange.sandboxId());
    exchange.empty(204);
  }

  private void ping(Exchange exchange) {
    exchange.json(200, Views.ping(engine.ping(exchange.sandboxId())));
  }

  private void create(Exchange exchange) {
    CreateSandboxes body = exchange.body(CreateSandboxes.class);
    ForkSpec spec = spec(body);
    long beginNanos = nanoClock.getAsLong();
    List<ChildOutcome> outcomes = engine.fork(spec);
    long started =
        outcomes.stream().filter(outcome -> outcome instanceof ChildOutcome.Started).count();
    meters.forked(
        Duration.ofNanos(nanoClock.getAsLong() - beginNanos), started, outcomes.size() - started);
    if (spec.partial()) {
      exchange.json(201, outcomes.stream().map(SandboxRoutes::result).toList());
    } else {
      exchange.json(201, allOrNothing(outcomes));
    }
  }

  private static ForkSpec spec(CreateSandboxes body) {
    Tag tag = new Tag(body.snapshotTag());
    long count = Checks.inRange("n", body.n().orElse(1), 1, ForkSpec.MAX_COUNT);
    Checks.memoryLimit(body.memoryLimitMib());
    String minIsolation = body.minIsolation().orElse("emulation");
    if (!minIsolation.equals("kvm") && !minIsolation.equals("emulation")) {
      throw Checks.invalid(
          "min_isolation is '"
              + (minIsolation.length() > 40 ? minIsolation.substring(0, 40) + "…" : minIsolation)
              + "'; send kvm or emulation");
    }
    Checks.noNetns(body.perChildNetns());
    return new ForkSpec(
        tag,
        Math.toIntExact(count),
        body.memoryLimitMib(),
        body.prewarm(),
        body.certify(),
        body.partial(),
        minIsolation);
  }

  private static ChildResult result(ChildOutcome outcome) {
    return switch (outcome) {
      case ChildOutcome.Started child -> ChildResult.started(Views.sandbox(child.sandbox()));
      case ChildOutcome.Failed child ->
          ChildResult.failed(child.code().wireName(), child.message());
    };
  }

  /** The engine has undone the others when one failed; should one be left, it ends here. */
  private List<SandboxInfo> allOrNothing(List<ChildOutcome> outcomes) {
    List<SandboxInfo> started = new ArrayList<>();
    List<SandboxId> ids = new ArrayList<>();
    Optional<ChildOutcome.Failed> failed = Optional.empty();
    int failures = 0;
    for (ChildOutcome outcome : outcomes) {
      switch (outcome) {
        case ChildOutcome.Started child -> {
          started.add(Views.sandbox(child.sandbox()));
          ids.add(child.sandbox().id());
        }
        case ChildOutcome.Failed child -> {
          failures++;
          failed = failed.or(() -> Optional.of(child));
        }
      }
    }
    if (failed.isEmpty()) {
      return started;
    }
    for (SandboxId id : ids) {
      try {
        engine.kill(id);
      } catch (ForkdException e) {
        LOG.info("child {} of a failed fork was gone already: {}", id, e.message());
      }
    }
    throw new ForkdException(
        failed.get().code(),
        failures
            + " of "
            + outcomes.size()
            + " children failed, so none was kept (send partial:true to keep the others). First: "
            + failed.get().message());
  }
}
