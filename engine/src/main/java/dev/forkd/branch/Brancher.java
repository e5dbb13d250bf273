package dev.forkd.branch;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.Snapshot;
import dev.forkd.fork.Zygotes;
import dev.forkd.memory.MemoryStore;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.snapshot.SnapshotCatalog;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;

/**
 * Saves running sandboxes, memory and disk as of one moment, while they live on: so many at once,
 * one per tag.
 */
public final class Brancher {
  /** QEMU opens every layer; beyond this they are merged after the branch. */
  private static final int MAX_DISK_DEPTH = 24;

  private static final Duration MERGE_TIMEOUT = Duration.ofMinutes(10);
  private static final SecureRandom RANDOM = new SecureRandom();

  /** What branching needs of the engine. */
  public record Parts(
      SnapshotCatalog snapshots,
      Sandboxes sandboxes,
      MemoryStore memory,
      DiskLayers layers,
      ImageLedger ledger,
      Zygotes zygotes) {}

  private final Parts parts;
  private final int cap;
  private final Semaphore slots;
  private final Set<String> inFlight = ConcurrentHashMap.newKeySet();

  /**
   * @param cap branches at once; more are refused
   */
  public Brancher(Parts parts, int cap) {
    this.parts = parts;
    this.cap = cap;
    this.slots = new Semaphore(cap);
  }

  public int inFlight() {
    return cap - slots.availablePermits();
  }

  public int cap() {
    return cap;
  }

  /** See {@link dev.forkd.engine.ForkdEngine#branch}. */
  public Snapshot branch(Sandbox source, BranchSpec spec) {
    Tag tag = spec.tag().orElseGet(() -> generated(source));
    if (parts.snapshots().contains(tag) || !inFlight.add(tag.value())) {
      throw new ForkdException(
          ErrorCode.ALREADY_EXISTS,
          "snapshot '"
              + tag
              + "' already exists or is being branched; choose another tag or delete it first"
              + " (DELETE /v1/snapshots/"
              + tag
              + ")");
    }
    try {
      checkParentTag(source, spec);
      if (!slots.tryAcquire()) {
        throw new ForkdException(
            ErrorCode.RESOURCE_EXHAUSTED,
            cap + " branches are already under way, the most this daemon does at once; try again");
      }
      try {
        return run(source, tag, spec);
      } finally {
        slots.release();
      }
    } finally {
      inFlight.remove(tag.value());
    }
  }

  private static Tag generated(Sandbox source) {
    return new Tag("branch-" + source.id() + "-" + randomHex(4));
  }

  private void checkParentTag(Sandbox source, BranchSpec spec) {
    spec.parentTag()
        .filter(parent -> !parent.value().equals(source.record().snapshot()))
        .ifPresent(parent -> {
          throw new ForkdException(
              ErrorCode.INVALID_ARGUMENT,
              "parent_tag '"
                  + parent
                  + "' is not what sandbox "
                  + source.id()
                  + " was forked from ('"
                  + source.record().snapshot()
                  + "')");
        });
    if (spec.parentTag().isPresent()
        && spec.mode() != BranchSpec.Mode.DIFF
        && spec.mode() != BranchSpec.Mode.LIVE) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "parent_tag needs diff or live: only differences can be stored as a link of a chain");
    }
    spec.parentTag()
        .ifPresent(parent -> parts.snapshots().checkLink(parent, source.record().memory()));
  }

  private Snapshot run(Sandbox source, Tag tag, BranchSpec spec) {
    source.checkAlive();
    try (Branch branch = new Branch(parts, source, tag, spec)) {
      branch.take();
      Snapshot snapshot = branch.store();
      mergeIfDeep(source);
      return snapshot;
    }
  }

  /** Copies a long chain's younger layers into the overlay, so that the next branch finds few. */
  public void mergeIfDeep(Sandbox source) {
    if (source.vm().disk().depth() < MAX_DISK_DEPTH) {
      return;
    }
    try {
      source.vm().mergeDisk(source.vm().disk().base().getFirst(), MERGE_TIMEOUT);
      source.diskChanged();
      parts
          .snapshots()
          .removeImages(
              parts
                  .ledger()
                  .retain(Sandboxes.holder(source.id().value()), source.record().images()));
    } catch (ForkdException e) {
      // The branch is complete; the next one tries again, and QEMU works with deeper chains too.
      System.getLogger(Brancher.class.getName())
          .log(System.Logger.Level.WARNING, "merge of {0}: {1}", source.id(), e.message());
    }
  }

  static String randomHex(int bytes) {
    byte[] random = new byte[bytes];
    RANDOM.nextBytes(random);
    return HexFormat.of().formatHex(random);
  }
}
