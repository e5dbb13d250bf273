package dev.forkd.branch;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.Snapshot;
import dev.forkd.linux.DurableFiles;
import dev.forkd.memory.MemoryImage;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.Layers;
import dev.forkd.snapshot.SnapshotFiles;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.snapshot.SnapshotManifest.Lineage;
import dev.forkd.vmm.DiskLayer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.BooleanSupplier;

/**
 * One branch under way: {@link #take} is its pause and what belongs to it, {@link #store} makes it
 * durable, which needs the source no more. Whatever fails, the source goes on and nothing half-made
 * stays.
 */
final class Branch implements AutoCloseable {
  /**
   * Longer rows of memory deltas are written flat, so that a fork reads few files and a snapshot
   * keeps few images of deleted ones alive; a chain link never is.
   */
  private static final int MAX_DELTA_DEPTH = 8;

  private final Brancher.Parts parts;
  private final Sandbox source;
  private final Tag tag;
  private final BranchSpec spec;
  private final BooleanSupplier cancelled;
  private final SandboxRecord record;
  private final Path folder;
  private final DiskLayer overlay;
  private final String imageId = "m" + Brancher.randomHex(8);
  private Optional<StateTaking> taking = Optional.empty();
  private List<DiskLayer> disk = List.of();
  private PauseWindow.Cost cost = new PauseWindow.Cost(false, 0, 0);
  private BranchSpec.Mode mode;
  private Optional<String> warning = Optional.empty();
  private boolean reserved;
  private boolean complete;

  /**
   * Nothing is done yet.
   *
   * @param cancelled asked before each step that takes long
   */
  Branch(
      Brancher.Parts parts, Sandbox source, Tag tag, BranchSpec spec, BooleanSupplier cancelled) {
    this.parts = parts;
    this.cancelled = cancelled;
    this.source = source;
    this.tag = tag;
    this.spec = spec;
    this.mode = spec.mode();
    this.record = source.record();
    this.overlay = parts.layers().layer("d" + Brancher.randomHex(8), DiskLayer.Format.QCOW2);
    this.folder = parts.snapshots().folder(tag);
  }

  /** Who holds the images of an unfinished branch, in the ledger: its source may be killed. */
  private String holder() {
    return "branch " + tag;
  }

  /** Reserves the tag and takes the state; when this returns the source runs on. */
  void take() {
    try (Sandbox.BranchGrip grip = source.gripForBranch()) {
      parts.ledger().hold(holder(), record.images());
      parts.ledger().hold(Sandboxes.holder(source.id().value()), List.of(overlay.id()));
      List<DiskLayer> frozen = new ArrayList<>(source.vm().disk().base());
      frozen.add(source.vm().disk().active());
      try (OverlayOpening opening =
          new OverlayOpening(
              source.vm(),
              overlay,
              () -> parts.layers().newOverlay(overlay.id(), record.diskBytes()))) {
        parts
            .snapshots()
            .reserve(tag, false, Optional.of(lineage()), System.currentTimeMillis() / 1000);
        reserved = true;
        if (!takeByTwin(grip, opening)) {
          taking =
              Optional.of(
                  new InPauseTaking(
                      source.vm(), copy(), folder.resolve(SnapshotFiles.DEVICES), mode));
          pause(grip, opening);
        }
      } finally {
        // Also when it failed after that: what the source writes to now must be known to be needed.
        if (source.vm().disk().active().equals(overlay)) {
          source.diskChanged();
        }
      }
      disk = frozen;
    }
  }

  /** A full branch keeps all inside the pause, as its users have known it. */
  private boolean takeByTwin(Sandbox.BranchGrip grip, OverlayOpening opening) {
    if (mode != BranchSpec.Mode.DIFF && mode != BranchSpec.Mode.LIVE) {
      return false;
    }
    Optional<String> obstacle = parts.zygotes().obstacle();
    if (obstacle.isEmpty()) {
      try {
        taking = Optional.of(new TwinTaking(parts.zygotes(), record, copy()));
        pause(grip, opening);
        return true;
      } catch (ForkdException e) {
        taking.ifPresent(StateTaking::close);
        taking = Optional.empty();
        source.checkAlive();
        if (source.vm().disk().active().equals(overlay)) {
          throw e;
        }
        obstacle = Optional.of(e.message());
      }
    }
    if (mode == BranchSpec.Mode.LIVE) {
      mode = BranchSpec.Mode.DIFF;
      warning =
          Optional.of(
              "not live but taken as diff, with the memory copied in the pause: "
                  + obstacle.orElse("this host offers no way"));
    }
    return false;
  }

  private void pause(Sandbox.BranchGrip grip, OverlayOpening opening) {
    StateTaking way = taking.orElseThrow();
    way.prepare(source.vm());
    opening.await();
    cost = new PauseWindow(source, overlay, grip).run(way);
  }

  private MemoryCopy copy() {
    boolean delta = mode == BranchSpec.Mode.DIFF || mode == BranchSpec.Mode.LIVE;
    boolean flat =
        !delta || (spec.parentTag().isEmpty() && record.memory().size() >= MAX_DELTA_DEPTH);
    return new MemoryCopy(parts.memory(), record, mode, flat, imageId);
  }

  /** What is known of it while it is being written. */
  Lineage lineage() {
    OptionalLong diffBytes = taking.map(StateTaking::diffBytes).orElse(OptionalLong.empty());
    return new Lineage(
        record.snapshot(),
        source.id().value(),
        spec.parentTag().map(Tag::value),
        mode.name().toLowerCase(Locale.ROOT),
        cost.pauseMillis(),
        cost.freezeMillis(),
        taking.map(StateTaking::diffMillis).orElse(OptionalLong.empty()),
        diffBytes,
        diffBytes.isPresent()
            ? OptionalLong.of((long) record.memoryMib() << 20)
            : OptionalLong.empty());
  }

  Optional<String> warning() {
    return warning;
  }

  private void checkCancelled() {
    if (cancelled.getAsBoolean()) {
      throw new ForkdException(
          ErrorCode.CANCELLED, "snapshot '" + tag + "' was deleted while it was being written");
    }
  }

  /** Writes all of it durably; with that the snapshot is ready. */
  Snapshot store() {
    StateTaking way = taking.orElseThrow();
    Path devices = folder.resolve(SnapshotFiles.DEVICES);
    checkCancelled();
    MemoryImage image = way.store(devices);
    checkCancelled();
    List<MemoryImage> memory = new ArrayList<>();
    memory.add(image);
    if (image.parent().isPresent()) {
      memory.addAll(record.memory());
    }
    List<SnapshotManifest.LayerRef> sealed =
        disk.stream().map(layer -> Layers.sealed(layer, parts.layers())).toList();
    try {
      DurableFiles.sync(devices);
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
            sealed,
            SnapshotFiles.sha256(devices),
            record.ownToken(),
            cost.frozen(),
            Optional.empty(),
            Optional.of(lineage()));
    checkCancelled();
    Snapshot snapshot = parts.snapshots().complete(tag, manifest);
    complete = true;
    way.completed(manifest);
    source.branched(folder);
    return warning.map(snapshot::withWarning).orElse(snapshot);
  }

  /** Lets go of what is no longer needed; of everything, when it is not complete. */
  @Override
  public void close() {
    taking.ifPresent(StateTaking::close);
    List<String> unneeded = new ArrayList<>(parts.ledger().release(holder()));
    if (!complete) {
      if (reserved) {
        parts.snapshots().abandon(tag);
      }
      parts.memory().delete(imageId);
      if (!source.vm().disk().active().equals(overlay)) {
        unneeded.addAll(
            parts.ledger().retain(Sandboxes.holder(source.id().value()), source.record().images()));
      }
    }
    parts.snapshots().removeImages(unneeded);
  }
}
