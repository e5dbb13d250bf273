package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.Snapshot;
import dev.forkd.linux.SparseFiles;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.SnapshotManifest.Lineage;
import java.io.IOException;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;

/**
 * Makes of a snapshot one that stands alone: its memory in one flat image, after every file it is
 * read from was found to be as it was written. Disk layers belong to nobody and are shared.
 */
public final class Compactor {
  private static final SecureRandom RANDOM = new SecureRandom();

  private final SnapshotCatalog snapshots;
  private final MemoryStore memory;
  private final ImageLedger ledger;

  public Compactor(SnapshotCatalog snapshots, MemoryStore memory, ImageLedger ledger) {
    this.snapshots = snapshots;
    this.memory = memory;
    this.ledger = ledger;
  }

  /** See {@link dev.forkd.engine.ForkdEngine#compact}. */
  public Snapshot compact(Tag from, Tag to) {
    if (from.equals(to)) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "snapshot '" + from + "' cannot be compacted to its own tag; choose another one");
    }
    snapshots.requireFree(to);
    SnapshotManifest source = snapshots.require(from);
    String holder = "compact " + to;
    ledger.hold(holder, SnapshotCatalog.images(source));
    try {
      // Held from here on; it may have been deleted just before.
      if (snapshots.find(from).filter(source::equals).isEmpty()) {
        throw Entries.unknown(from);
      }
      return write(source, to);
    } finally {
      snapshots.removeImages(ledger.release(holder));
    }
  }

  private Snapshot write(SnapshotManifest source, Tag to) {
    Lineage lineage = Lineage.made(source.tag(), Lineage.COMPACT);
    long now = System.currentTimeMillis() / 1000;
    Path folder = snapshots.reserve(to, false, Optional.of(lineage), now);
    String imageId = "m" + HexFormat.of().formatHex(random());
    boolean complete = false;
    try {
      MemoryImage flat = memory.flatten(imageId, source.memory());
      copyDevices(snapshots.devices(source.tag()), folder.resolve(SnapshotFiles.DEVICES), source);
      SnapshotManifest manifest =
          new SnapshotManifest(
              SnapshotManifest.VERSION,
              to.value(),
              now,
              false,
              Optional.empty(),
              source.platform(),
              source.memoryMib(),
              source.diskBytes(),
              List.of(flat),
              source.disk(),
              source.devicesSha256(),
              source.resyncToken(),
              source.frozen(),
              source.rehearsals(),
              Optional.of(lineage));
      Snapshot made = snapshots.complete(to, manifest);
      complete = true;
      return made;
    } finally {
      if (!complete) {
        try {
          memory.delete(imageId);
        } finally {
          snapshots.abandon(to);
        }
      }
    }
  }

  private static void copyDevices(Path from, Path to, SnapshotManifest source) {
    try {
      SparseFiles.copy(from, to);
    } catch (IOException e) {
      throw SnapshotFiles.failed("copy " + from + " to " + to, e);
    }
    if (!SnapshotFiles.sha256(to).equals(source.devicesSha256())) {
      throw new ForkdException(
          ErrorCode.DATA_LOSS, "device state " + from + " was changed since it was written");
    }
  }

  private static byte[] random() {
    byte[] bytes = new byte[8];
    RANDOM.nextBytes(bytes);
    return bytes;
  }
}
