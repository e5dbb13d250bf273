package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.SnapshotManifest.LayerRef;
import dev.forkd.snapshot.SnapshotManifest.Lineage;
import dev.forkd.state.DataDir;
import dev.forkd.state.SnapshotRow;
import dev.forkd.state.SnapshotState;
import dev.forkd.state.StateStore;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.concurrent.locks.ReentrantLock;

/**
 * All snapshots of a data directory, by tag. A snapshot is reserved before anything is written for
 * it, and is complete when its manifest is on disk and its row says READY.
 *
 * <p>Thread-safe.
 */
public final class SnapshotCatalog {
  private final DataDir dir;
  private final StateStore store;
  private final ImageLedger ledger;
  private final MemoryStore memory;
  private final DiskLayers layers;
  private final Map<String, Entry> entries = new TreeMap<>();
  private final ReentrantLock lock = new ReentrantLock();
  private volatile boolean imagesUnknown;

  /** What is known about one tag. */
  private sealed interface Entry {
    record Writing(long sinceUnix) implements Entry {}

    record Ready(SnapshotManifest manifest) implements Entry {}

    record Damaged(String why, long createdAtUnix, boolean template) implements Entry {}
  }

  public SnapshotCatalog(
      DataDir dir, StateStore store, ImageLedger ledger, MemoryStore memory, DiskLayers layers) {
    this.dir = dir;
    this.store = store;
    this.ledger = ledger;
    this.memory = memory;
    this.layers = layers;
  }

  /**
   * Reads what is there: finishes deletions, undoes what was never completed. Call once, first.
   *
   * @return what was settled, for people
   */
  public List<String> load() {
    List<String> settled = new ArrayList<>();
    for (SnapshotRow row : store.listSnapshots()) {
      Path folder = dir.snapshot(row.tag());
      if (row.state() != SnapshotState.READY) {
        SnapshotFiles.delete(folder);
        store.deleteSnapshot(row.tag());
        settled.add(
            (row.state() == SnapshotState.WRITING ? "undone: snapshot " : "finished: deletion of ")
                + row.tag());
        continue;
      }
      lock.lock();
      try {
        SnapshotManifest manifest = SnapshotFiles.read(folder);
        entries.put(row.tag(), new Entry.Ready(manifest));
        ledger.hold(holder(row.tag()), images(manifest));
      } catch (ForkdException e) {
        entries.put(
            row.tag(),
            new Entry.Damaged(e.message(), row.createdUnixMillis() / 1000, row.template()));
        SnapshotFiles.fromJson(row.manifestJson())
            .ifPresentOrElse(
                manifest -> ledger.hold(holder(row.tag()), images(manifest)),
                () -> imagesUnknown = true);
      } finally {
        lock.unlock();
      }
    }
    return settled;
  }

  /** Whether nobody can say which images some damaged snapshot needs. */
  public boolean imagesUnknown() {
    return imagesUnknown;
  }

  public List<Snapshot> list() {
    lock.lock();
    try {
      return entries.entrySet().stream().map(e -> view(e.getKey(), e.getValue())).toList();
    } finally {
      lock.unlock();
    }
  }

  public int size() {
    lock.lock();
    try {
      return entries.size();
    } finally {
      lock.unlock();
    }
  }

  public Snapshot get(Tag tag) {
    return view(tag.value(), entry(tag));
  }

  public boolean contains(Tag tag) {
    lock.lock();
    try {
      return entries.containsKey(tag.value());
    } finally {
      lock.unlock();
    }
  }

  /**
   * The manifest of a snapshot that can be forked.
   *
   * @throws ForkdException NOT_FOUND, UNAVAILABLE while it is being written, DATA_LOSS when it or
   *     one of its files is damaged
   */
  public SnapshotManifest require(Tag tag) {
    return switch (entry(tag)) {
      case Entry.Ready(SnapshotManifest manifest) -> checkFiles(manifest);
      case Entry.Writing _ ->
          throw new ForkdException(
              ErrorCode.UNAVAILABLE, "snapshot '" + tag + "' is still being written; try again");
      case Entry.Damaged damaged -> throw new ForkdException(ErrorCode.DATA_LOSS, damaged.why());
    };
  }

  /** The manifest, if the tag names a complete snapshot. */
  public Optional<SnapshotManifest> find(Tag tag) {
    lock.lock();
    try {
      return entries.get(tag.value()) instanceof Entry.Ready(SnapshotManifest manifest)
          ? Optional.of(manifest)
          : Optional.empty();
    } finally {
      lock.unlock();
    }
  }

  private Entry entry(Tag tag) {
    lock.lock();
    try {
      Entry entry = entries.get(tag.value());
      if (entry == null) {
        throw new ForkdException(
            ErrorCode.NOT_FOUND,
            "snapshot '" + tag + "' does not exist; forkd images lists those that do");
      }
      return entry;
    } finally {
      lock.unlock();
    }
  }

  private SnapshotManifest checkFiles(SnapshotManifest manifest) {
    Path devices = devices(manifest.tag());
    if (!Files.exists(devices) || !SnapshotFiles.sha256(devices).equals(manifest.devicesSha256())) {
      throw new ForkdException(
          ErrorCode.DATA_LOSS,
          "device state "
              + devices
              + " of snapshot '"
              + manifest.tag()
              + "' is missing or damaged. Delete the snapshot (forkd rmi) and make it again");
    }
    for (LayerRef ref : manifest.disk()) {
      Path file = Layers.layer(ref, layers).path();
      if (!Files.exists(file)) {
        throw new ForkdException(
            ErrorCode.DATA_LOSS,
            "disk layer " + file + " of snapshot '" + manifest.tag() + "' is missing");
      }
    }
    return manifest;
  }

  /** Device state of a snapshot. */
  public Path devices(String tag) {
    return dir.snapshot(tag).resolve(SnapshotFiles.DEVICES);
  }

  /**
   * Takes a tag for a snapshot that is about to be written, and makes its folder.
   *
   * @throws ForkdException ALREADY_EXISTS when the tag is taken or being written
   */
  public Path reserve(Tag tag, boolean template, Optional<Lineage> lineage, long createdAtUnix) {
    Path folder = dir.snapshot(tag.value());
    lock.lock();
    try {
      if (entries.containsKey(tag.value())) {
        throw new ForkdException(
            ErrorCode.ALREADY_EXISTS,
            "snapshot '"
                + tag
                + "' already exists; choose another tag or delete it first"
                + " (DELETE /v1/snapshots/"
                + tag
                + ")");
      }
      entries.put(tag.value(), new Entry.Writing(createdAtUnix));
    } finally {
      lock.unlock();
    }
    try {
      store.insertSnapshot(
          new SnapshotRow(
              tag.value(),
              SnapshotState.WRITING,
              template,
              lineage.flatMap(Lineage::parentTag),
              lineage.map(Lineage::branchedFrom),
              lineage.map(Lineage::mode),
              createdAtUnix * 1000,
              "{}"));
      SnapshotFiles.delete(folder);
      Files.createDirectory(folder);
      return folder;
    } catch (IOException | RuntimeException e) {
      abandon(tag);
      if (e instanceof ForkdException known) {
        throw known;
      }
      throw new ForkdException(ErrorCode.INTERNAL, "make " + folder + ": " + e.getMessage(), e);
    }
  }

  /** Makes a reserved snapshot READY; all its files must be durable. */
  public Snapshot complete(Tag tag, SnapshotManifest manifest) {
    ledger.hold(holder(tag.value()), images(manifest));
    SnapshotFiles.write(dir.snapshot(tag.value()), manifest);
    SnapshotRow row =
        store
            .findSnapshot(tag.value())
            .orElseThrow(() ->
                new ForkdException(
                    ErrorCode.ABORTED, "snapshot '" + tag + "' was removed while written"));
    store.updateSnapshot(
        row.withManifest(SnapshotFiles.toJson(manifest)).withState(SnapshotState.READY));
    Entry ready = new Entry.Ready(manifest);
    lock.lock();
    try {
      entries.put(tag.value(), ready);
    } finally {
      lock.unlock();
    }
    return view(tag.value(), ready);
  }

  /** Gives a reserved tag back, with everything written for it. */
  public void abandon(Tag tag) {
    SnapshotFiles.delete(dir.snapshot(tag.value()));
    store.deleteSnapshot(tag.value());
    removeImages(ledger.release(holder(tag.value())));
    lock.lock();
    try {
      entries.remove(tag.value());
    } finally {
      lock.unlock();
    }
  }

  /** Removes a snapshot; see {@link dev.forkd.engine.ForkdEngine#deleteSnapshot}. */
  public void delete(Tag tag, DeleteMode mode) {
    if (entry(tag) instanceof Entry.Writing) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "snapshot '" + tag + "' is still being written; delete it when it is ready");
    }
    List<String> children = childrenOf(tag);
    if (!children.isEmpty()) {
      switch (mode) {
        case REFUSE ->
            throw new ForkdException(
                ErrorCode.FAILED_PRECONDITION,
                "snapshot '"
                    + tag
                    + "' is the parent of "
                    + String.join(", ", children)
                    + "; delete those first, delete them too with ?cascade=true, or leave them with"
                    + " ?force=true");
        case CASCADE -> children.forEach(child -> delete(new Tag(child), mode));
        case FORCE -> {}
      }
    }
    store
        .findSnapshot(tag.value())
        .ifPresent(row -> store.updateSnapshot(row.withState(SnapshotState.DELETING)));
    lock.lock();
    try {
      entries.remove(tag.value());
    } finally {
      lock.unlock();
    }
    SnapshotFiles.delete(dir.snapshot(tag.value()));
    removeImages(ledger.release(holder(tag.value())));
    store.deleteSnapshot(tag.value());
  }

  private List<String> childrenOf(Tag tag) {
    lock.lock();
    try {
      return entries.entrySet().stream()
          .filter(entry ->
              entry.getValue() instanceof Entry.Ready(SnapshotManifest manifest)
                  && manifest
                      .lineage()
                      .flatMap(Lineage::parentTag)
                      .filter(tag.value()::equals)
                      .isPresent())
          .map(Map.Entry::getKey)
          .toList();
    } finally {
      lock.unlock();
    }
  }

  /** Removes images nobody needs. */
  public void removeImages(List<String> ids) {
    for (String id : ids) {
      memory.delete(id);
      layers.delete(id);
    }
  }

  private static String holder(String tag) {
    return "snapshot " + tag;
  }

  private static List<String> images(SnapshotManifest manifest) {
    List<String> images = new ArrayList<>();
    manifest.memory().forEach(image -> images.add(image.id()));
    manifest.disk().forEach(layer -> images.add(layer.id()));
    return images;
  }

  private Snapshot view(String tag, Entry entry) {
    Path folder = dir.snapshot(tag);
    return switch (entry) {
      case Entry.Writing(long since) ->
          bare(tag, folder, since, Snapshot.Status.WRITING, false, Optional.empty());
      case Entry.Damaged(String why, long createdAt, boolean template) ->
          bare(tag, folder, createdAt, Snapshot.Status.FAILED, template, Optional.of(why));
      case Entry.Ready(SnapshotManifest m) ->
          new Snapshot(
              new Tag(tag),
              folder,
              m.createdAtUnix(),
              Snapshot.Status.READY,
              m.template(),
              m.lineage().map(Lineage::parent).map(Tag::new),
              m.lineage().map(line -> new SandboxId(line.branchedFrom())),
              m.lineage().map(Lineage::mode),
              number(m.lineage().map(Lineage::pauseMillis)),
              m.lineage().map(Lineage::diffMillis).orElse(OptionalLong.empty()),
              m.lineage().map(Lineage::diffPhysicalBytes).orElse(OptionalLong.empty()),
              m.lineage().map(Lineage::diffLogicalBytes).orElse(OptionalLong.empty()),
              number(m.lineage().map(Lineage::freezeMillis)),
              m.memoryMib(),
              m.memory().stream().limit(1).mapToLong(MemoryImage::storedBytes).sum(),
              storedDiskBytes(m),
              Optional.empty());
    };
  }

  private long storedDiskBytes(SnapshotManifest manifest) {
    Path top = Layers.layer(manifest.disk().getLast(), layers).path();
    return Files.exists(top)
        ? layers.storedBytes(Layers.layer(manifest.disk().getLast(), layers))
        : 0;
  }

  private static OptionalLong number(Optional<Long> value) {
    return value.map(OptionalLong::of).orElse(OptionalLong.empty());
  }

  private static Snapshot bare(
      String tag,
      Path folder,
      long createdAt,
      Snapshot.Status status,
      boolean template,
      Optional<String> warning) {
    return new Snapshot(
        new Tag(tag),
        folder,
        createdAt,
        status,
        template,
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        0,
        0,
        0,
        warning);
  }
}
