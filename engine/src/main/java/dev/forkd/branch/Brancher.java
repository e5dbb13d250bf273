package dev.forkd.branch;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.Snapshot;
import dev.forkd.linux.PageBuffer;
import dev.forkd.memory.HostMemory;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.snapshot.Layers;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotFiles;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.snapshot.SnapshotManifest.Lineage;
import dev.forkd.vmm.DiskLayer;
import java.io.IOException;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;

/**
 * Saves a running sandbox, memory and disk as of one moment, while it lives on. Inside the pause
 * there is only what must be: device state, the disk's switch to a new overlay, and the copy of
 * memory into buffers that were touched before. Whatever fails, the source goes on.
 */
public final class Brancher {
  /**
   * Longer rows of memory deltas are written flat, so that a fork reads few files and a snapshot
   * keeps few images of deleted ones alive; a chain link never is.
   */
  private static final int MAX_DELTA_DEPTH = 8;

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
      ImageLedger ledger) {}

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
    if (spec.parentTag().isPresent() && spec.mode() != BranchSpec.Mode.DIFF) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "parent_tag needs diff: only a diff can be stored as a link of a chain");
    }
    spec.parentTag()
        .ifPresent(parent -> parts.snapshots().checkLink(parent, source.record().memory()));
  }

  private Snapshot run(Sandbox source, Tag tag, BranchSpec spec) {
    source.checkAlive();
    Lineage asked = lineage(source, spec, BranchTimes.none());
    Path folder =
        parts
            .snapshots()
            .reserve(tag, false, Optional.of(asked), System.currentTimeMillis() / 1000);
    String imageId = "m" + randomHex(8);
    DiskLayer overlay = parts.layers().layer("d" + randomHex(8), DiskLayer.Format.QCOW2);
    boolean complete = false;
    try (PageBuffer buffer = new PageBuffer()) {
      boolean flat =
          spec.mode() != BranchSpec.Mode.DIFF
              || (spec.parentTag().isEmpty() && source.record().memory().size() >= MAX_DELTA_DEPTH);
      MemoryCopy copy = new MemoryCopy(parts.memory(), source, spec.mode(), flat, imageId, buffer);
      Saved saved = save(source, folder, overlay, copy);
      Snapshot snapshot = store(source, tag, folder, spec, copy, saved);
      complete = true;
      source.branched(folder);
      mergeIfDeep(source);
      return snapshot;
    } finally {
      if (!complete) {
        undo(source, tag, imageId, overlay);
      }
    }
  }

  /** What the pause left to be made durable. */
  private record Saved(List<DiskLayer> disk, boolean frozen, BranchTimes times) {}

  private Saved save(Sandbox source, Path folder, DiskLayer overlay, MemoryCopy copy) {
    try (Sandbox.BranchGrip grip = source.gripForBranch()) {
      copy.prepare();
      parts.ledger().hold(Sandboxes.holder(source.id().value()), List.of(overlay.id()));
      parts.layers().newOverlay(overlay.id(), source.record().diskBytes());
      List<DiskLayer> disk = new ArrayList<>(source.vm().disk().base());
      disk.add(source.vm().disk().active());
      PauseWindow window =
          new PauseWindow(source, folder.resolve(SnapshotFiles.DEVICES), overlay, grip);
      BranchTimes times = window.run(copy);
      source.diskChanged();
      return new Saved(disk, window.frozen(), times);
    }
  }

  private Snapshot store(
      Sandbox source, Tag tag, Path folder, BranchSpec spec, MemoryCopy copy, Saved saved) {
    SandboxRecord record = source.record();
    MemoryImage image = copy.store();
    List<MemoryImage> memory = new ArrayList<>();
    memory.add(image);
    if (image.parent().isPresent()) {
      memory.addAll(record.memory());
    }
    parts.layers().sync(saved.disk().getLast());
    Path devices = folder.resolve(SnapshotFiles.DEVICES);
    try {
      dev.forkd.linux.DurableFiles.sync(devices);
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.INTERNAL, "make " + devices + " durable: " + e.getMessage(), e);
    }
    SnapshotManifest manifest =
        new SnapshotManifest(
            SnapshotManifest.VERSION,
            tag.value(),
            System.currentTimeMillis() / 1000,
            false,
            Optional.empty(),
            record.platform(),
            record.memoryMib(),
            record.diskBytes(),
            memory,
            saved.disk().stream().map(Layers::ref).toList(),
            SnapshotFiles.sha256(devices),
            record.ownToken(),
            saved.frozen(),
            Optional.of(lineage(source, spec, saved.times())));
    return parts.snapshots().complete(tag, manifest);
  }

  private static Lineage lineage(Sandbox source, BranchSpec spec, BranchTimes times) {
    return new Lineage(
        source.record().snapshot(),
        source.id().value(),
        spec.parentTag().map(Tag::value),
        spec.mode().name().toLowerCase(Locale.ROOT),
        times.pauseMillis(),
        times.freezeMillis(),
        times.diffMillis(),
        times.diffPhysicalBytes(),
        times.diffPhysicalBytes().isPresent()
            ? OptionalLong.of((long) source.record().memoryMib() << 20)
            : OptionalLong.empty());
  }

  private void undo(
      Sandbox source,
      Tag tag,
      String imageId,
      @org.jspecify.annotations.Nullable DiskLayer overlay) {
    parts.snapshots().abandon(tag);
    parts.memory().delete(imageId);
    if (overlay != null && !source.vm().disk().active().equals(overlay)) {
      List<String> kept = new ArrayList<>(source.record().images());
      parts
          .snapshots()
          .removeImages(parts.ledger().retain(Sandboxes.holder(source.id().value()), kept));
    }
  }

  /** Copies a long chain's younger layers into the overlay, so that the next branch finds few. */
  private void mergeIfDeep(Sandbox source) {
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

  private static String randomHex(int bytes) {
    byte[] random = new byte[bytes];
    RANDOM.nextBytes(random);
    return HexFormat.of().formatHex(random);
  }

  /** Memory a branch needs while it runs. */
  static void requireMemory(Sandbox source, long bytes) {
    HostMemory.require("branching sandbox " + source.id(), bytes);
  }
}
