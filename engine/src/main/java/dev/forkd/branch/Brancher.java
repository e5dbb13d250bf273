package dev.forkd.branch;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
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
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;

/**
 * Saves running sandboxes, memory and disk as of one moment, while they live on: so many at once,
 * one per tag.
 */
public final class Brancher {
  /** QEMU opens every layer; beyond this they are merged after the branch. */
  private static final int MAX_DISK_DEPTH = 24;

  private static final Duration MERGE_TIMEOUT = Duration.ofMinutes(10);
  private static final Duration CANCEL_PATIENCE = Duration.ofSeconds(60);

  /**
   * Storing a branch takes a core for a while; who asked not to wait for it hears the answer first.
   */
  private static final Duration ANSWER_FIRST = Duration.ofMillis(5);

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

  /** Branches that are being written with nobody waiting for them, by tag. */
  private final Map<String, Place> unfinished = new ConcurrentHashMap<>();

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
    Place place = enter(source, tag, spec);
    boolean handedOn = false;
    try {
      source.checkAlive();
      Branch branch = new Branch(parts, source, tag, spec, place::cancelled);
      try {
        branch.take();
        if (!spec.untilReady()) {
          Snapshot begun = parts.snapshots().writing(tag, branch.lineage(), branch.warning());
          unfinished.put(tag.value(), place);
          Threads.virtual("branch-" + tag, () -> finish(source, tag, branch, place));
          handedOn = true;
          return begun;
        }
        Snapshot snapshot = branch.store();
        mergeIfDeep(source);
        return snapshot;
      } finally {
        if (!handedOn) {
          branch.close();
        }
      }
    } finally {
      if (!handedOn) {
        place.close();
      }
    }
  }

  private void finish(Sandbox source, Tag tag, Branch branch, Place place) {
    LockSupport.parkNanos(ANSWER_FIRST.toNanos());
    try (place) {
      Optional<String> failure = Optional.empty();
      try (branch) {
        branch.store();
        mergeIfDeep(source);
      } catch (ForkdException e) {
        failure = Optional.of(e.message());
      } catch (RuntimeException e) {
        failure = Optional.of(String.valueOf(e));
      }
      if (failure.isPresent() && !place.cancelled()) {
        parts
            .snapshots()
            .failed(
                tag,
                "the branch could not be written: "
                    + failure.get()
                    + ". Delete it (forkd rmi) and branch again");
      }
    }
  }

  /**
   * Gives up a branch that is being written with nobody waiting for it, and waits until nothing of
   * it is left.
   *
   * @return whether there was one; it may have become complete by then
   */
  public boolean cancel(Tag tag) {
    Place place = unfinished.get(tag.value());
    if (place == null) {
      return false;
    }
    place.cancel();
    return true;
  }

  /**
   * Waits for the branches that are being written with nobody waiting for them; gives up those that
   * take longer.
   */
  public void drain(Duration patience) {
    long deadlineNanos = System.nanoTime() + patience.toNanos();
    for (Place place : List.copyOf(unfinished.values())) {
      try {
        place.over.get(Math.max(0, deadlineNanos - System.nanoTime()), TimeUnit.NANOSECONDS);
      } catch (TimeoutException e) {
        place.cancel();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        return;
      } catch (ExecutionException e) {
        throw new ForkdException(ErrorCode.INTERNAL, "wait for a branch", e.getCause());
      }
    }
  }

  private Place enter(Sandbox source, Tag tag, BranchSpec spec) {
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
      return new Place(tag);
    } catch (RuntimeException e) {
      inFlight.remove(tag.value());
      throw e;
    }
  }

  /** One of the branches that may be under way, held until all of it is over. */
  private final class Place implements AutoCloseable {
    private final Tag tag;
    private final CompletableFuture<Boolean> over = new CompletableFuture<>();
    private final AtomicBoolean left = new AtomicBoolean();
    private volatile boolean cancelled;

    Place(Tag tag) {
      this.tag = tag;
    }

    boolean cancelled() {
      return cancelled;
    }

    void cancel() {
      cancelled = true;
      try {
        over.get(CANCEL_PATIENCE.toMillis(), TimeUnit.MILLISECONDS);
      } catch (TimeoutException e) {
        throw new ForkdException(
            ErrorCode.UNAVAILABLE,
            "snapshot '"
                + tag
                + "' is still being written and did not stop within "
                + CANCEL_PATIENCE.toSeconds()
                + " s; delete it again",
            e);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new ForkdException(ErrorCode.CANCELLED, "interrupted while giving up " + tag, e);
      } catch (ExecutionException e) {
        throw new ForkdException(ErrorCode.INTERNAL, "give up " + tag, e.getCause());
      }
    }

    @Override
    public void close() {
      // Whoever waits for the end may take the place at once.
      if (left.compareAndSet(false, true)) {
        slots.release();
        inFlight.remove(tag.value());
        unfinished.remove(tag.value(), this);
        over.complete(true);
      }
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
