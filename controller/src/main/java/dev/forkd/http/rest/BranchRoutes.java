package dev.forkd.http.rest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.api.rest.BranchRequest;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.Snapshot;
import dev.forkd.http.Exchange;
import dev.forkd.http.HttpFailure;
import dev.forkd.http.Route;
import dev.forkd.metrics.Meters;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Branching. The checks run in the order that published clients know: tag, capacity, the same tag
 * under way, contradictory modes, tag taken, sandbox, parent. The engine checks again what may
 * change in between.
 */
final class BranchRoutes {
  private final ForkdEngine engine;
  private final Meters meters;
  private final ReentrantLock lock = new ReentrantLock();

  /** Tags of branches under way; guarded by the lock. */
  private final Set<Tag> tagsInFlight = new HashSet<>();

  /** Branches under way, those without a tag of their own as well; guarded by the lock. */
  private int inFlight;

  BranchRoutes(ForkdEngine engine, Meters meters) {
    this.engine = engine;
    this.meters = meters;
  }

  List<Route> routes() {
    return List.of(new Route("POST", "/v1/sandboxes/{id}/branch", this::branch));
  }

  private void branch(Exchange exchange) {
    BranchRequest body = exchange.body(BranchRequest.class);
    if (body.mode().isPresent() && !Set.of("full", "diff", "live").contains(body.mode().get())) {
      throw HttpFailure.shape("mode must be full, diff or live");
    }
    Optional<Tag> tag = body.tag().map(Tag::new);
    enter(tag);
    try {
      Snapshot snapshot = engine.branch(exchange.sandboxId(), checked(body, tag));
      snapshot.pauseMillis().ifPresent(millis -> meters.branchPaused(Duration.ofMillis(millis)));
      exchange.json(
          snapshot.status() == Snapshot.Status.WRITING ? 202 : 201, Views.snapshot(snapshot));
    } finally {
      leave(tag);
    }
  }

  private void enter(Optional<Tag> tag) {
    int cap = engine.stats().branchConcurrencyCap();
    lock.lock();
    try {
      if (inFlight >= cap) {
        throw new ForkdException(
            ErrorCode.RESOURCE_EXHAUSTED,
            cap
                + " branches are under way, which is the cap of this daemon"
                + " (--branch-concurrency); try again when one has ended");
      }
      if (tag.isPresent() && !tagsInFlight.add(tag.get())) {
        throw new ForkdException(
            ErrorCode.ALREADY_EXISTS, "a branch to tag '" + tag.get() + "' is under way");
      }
      inFlight++;
    } finally {
      lock.unlock();
    }
  }

  private void leave(Optional<Tag> tag) {
    lock.lock();
    try {
      inFlight--;
      tag.ifPresent(tagsInFlight::remove);
    } finally {
      lock.unlock();
    }
  }

  private BranchSpec checked(BranchRequest body, Optional<Tag> tag) {
    if (body.mode().isPresent() && (body.diff() || body.live())) {
      throw Checks.invalid("send mode, or one of diff and live, not both");
    }
    boolean live = body.live() || body.mode().equals(Optional.of("live"));
    boolean diff = body.diff() || body.mode().equals(Optional.of("diff"));
    if ((live ? 1 : 0) + (diff ? 1 : 0) + (body.measureDiff() ? 1 : 0) > 1) {
      throw Checks.invalid("diff, measure_diff and live exclude each other; send one");
    }
    if (!body.waitUntilReady().orElse(true) && !live) {
      throw Checks.invalid("wait:false needs mode live");
    }
    if (tag.isPresent() && SnapshotRoutes.exists(engine, tag.get())) {
      throw new ForkdException(
          ErrorCode.ALREADY_EXISTS,
          "snapshot '" + tag.get() + "' exists; delete it first or take another tag");
    }
    Optional<Tag> parent = body.parentTag().map(Tag::new);
    BranchSpec.Mode mode =
        live
            ? BranchSpec.Mode.LIVE
            : diff
                ? BranchSpec.Mode.DIFF
                : body.measureDiff() ? BranchSpec.Mode.MEASURE_DIFF : BranchSpec.Mode.FULL;
    return new BranchSpec(tag, mode, parent, body.waitUntilReady().orElse(true));
  }
}
