package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.SnapshotDetail;
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
import java.util.function.Function;

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
  private final Entries entries = new Entries();
  private final SnapshotViews views;
  private final SnapshotRemoval removal;
  private volatile boolean imagesUnknown;

  public SnapshotCatalog(
      DataDir dir, StateStore store, ImageLedger ledger, MemoryStore memory, DiskLayers layers) {
    this.dir = dir;
    this.store = store;
    this.ledger = ledger;
    this.memory = memory;
    this.layers = layers;
    this.views = new SnapshotViews(dir, memory, layers);
    this.removal = new SnapshotRemoval(dir, store, entries, this::letGo);
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
      try {
        SnapshotManifest manifest = SnapshotFiles.read(folder);
        entries.put(row.tag(), new Entry.Ready(manifest));
        ledger.hold(holder(row.tag()), images(manifest));
      } catch (ForkdException e) {
        entries.put(
            row.tag(),
            new Entry.Damaged(
                e.message(), row.createdUnixMillis() / 1000, row.template(), row.parentTag()));
        SnapshotFiles.fromJson(row.manifestJson())
            .ifPresentOrElse(
                manifest -> ledger.hold(holder(row.tag()), images(manifest)),
                () -> imagesUnknown = true);
      }
    }
    return settled;
  }

  /** Whether nobody can say which images some damaged snapshot needs. */
  public boolean imagesUnknown() {
    return imagesUnknown;
  }

  public List<Snapshot> list() {
    return entries.seen().entrySet().stream()
        .map(entry -> views.view(entry.getKey(), entry.getValue()))
        .toList();
  }

  public int size() {
    return entries.seen().size();
  }

  public Snapshot get(Tag tag) {
    return views.view(tag.value(), entries.get(tag));
  }

  /** See {@link dev.forkd.engine.ForkdEngine#snapshotDetail}. */
  public SnapshotDetail detail(Tag tag) {
    return views.detail(usable(tag), entries.seen());
  }

  public boolean contains(Tag tag) {
    return entries.find(tag).isPresent();
  }

  /**
   * The manifest of a snapshot that sandboxes are to be started from.
   *
   * @throws ForkdException NOT_FOUND, UNAVAILABLE while it is being written, FAILED_PRECONDITION
   *     when it is damaged: it is listed, but in no state for this
   */
  public SnapshotManifest bootable(Tag tag) {
    return orNotBootable(tag, this::require);
  }

  /** The same without a look at the snapshot's files: what it says, not whether it can be used. */
  public SnapshotManifest described(Tag tag) {
    return orNotBootable(tag, this::usable);
  }

  private static SnapshotManifest orNotBootable(Tag tag, Function<Tag, SnapshotManifest> find) {
    try {
      return find.apply(tag);
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.DATA_LOSS) {
        throw e;
      }
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "snapshot '" + tag + "' is not bootable: " + e.message(),
          e);
    }
  }

  /**
   * The manifest of a complete snapshot.
   *
   * @throws ForkdException NOT_FOUND, UNAVAILABLE while it is being written, DATA_LOSS when it or
   *     one of its files is damaged
   */
  public SnapshotManifest require(Tag tag) {
    return checkFiles(usable(tag));
  }

  private SnapshotManifest usable(Tag tag) {
    return switch (entries.get(tag)) {
      case Entry.Ready(SnapshotManifest manifest) -> manifest;
      case Entry.Writing _ ->
          throw new ForkdException(
              ErrorCode.UNAVAILABLE, "snapshot '" + tag + "' is still being written; try again");
      case Entry.Damaged damaged -> throw new ForkdException(ErrorCode.DATA_LOSS, damaged.why());
      case Entry.Deleting _ -> throw Entries.unknown(tag);
    };
  }

  /** The manifest, if the tag names a complete snapshot. */
  public Optional<SnapshotManifest> find(Tag tag) {
    return entries
        .find(tag)
        .filter(Entry.Ready.class::isInstance)
        .map(entry -> ((Entry.Ready) entry).manifest());
  }

  /**
   * Checks that a branch may be a chain link on {@code parent}.
   *
   * @param memoryChain what its source was forked from: an image, then its parent, and so on
   * @throws ForkdException FAILED_PRECONDITION when the parent is gone, is another snapshot by now,
   *     or carries as many links as a chain may have
   */
  public void checkLink(Tag parent, List<MemoryImage> memoryChain) {
    new Chains(entries.seen()).checkLink(parent.value(), memoryChain);
  }

  /**
   * @throws ForkdException ALREADY_EXISTS when the tag is taken or being written
   */
  public void requireFree(Tag tag) {
    if (contains(tag)) {
      throw taken(tag);
    }
  }

  private static ForkdException taken(Tag tag) {
    return new ForkdException(
        ErrorCode.ALREADY_EXISTS,
        "snapshot '"
            + tag
            + "' already exists; choose another tag or delete it first"
            + " (DELETE /v1/snapshots/"
            + tag
            + ")");
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
      Layers.check(ref, layers, manifest.tag());
    }
    return manifest;
  }

  /** Where a snapshot's own files are, or will be. */
  public Path folder(Tag tag) {
    return dir.snapshot(tag.value());
  }

  /** Device state of a snapshot. */
  public Path devices(String tag) {
    return dir.snapshot(tag).resolve(SnapshotFiles.DEVICES);
  }

  /**
   * Takes a tag for a snapshot that is about to be written, and makes its folder.
   *
   * @throws ForkdException ALREADY_EXISTS when the tag is taken or being written,
   *     FAILED_PRECONDITION when the parent it names is gone
   */
  public Path reserve(Tag tag, boolean template, Optional<Lineage> lineage, long createdAtUnix) {
    Path folder = dir.snapshot(tag.value());
    Optional<String> parentTag = lineage.flatMap(Lineage::parentTag);
    entries.locked(all -> {
      checkFree(all, tag, parentTag);
      return Optional.ofNullable(
          all.put(
              tag.value(),
              new Entry.Writing(createdAtUnix, parentTag, Optional.empty(), Optional.empty())));
    });
    try {
      SnapshotRow row =
          new SnapshotRow(
              tag.value(),
              SnapshotState.WRITING,
              template,
              parentTag,
              lineage.map(Lineage::branchedFrom),
              lineage.map(Lineage::mode),
              createdAtUnix * 1000,
              "{}");
      boolean _ =
          store.untilHostStops(tx -> {
            tx.insertSnapshot(row);
            return true;
          });
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

  private static void checkFree(Map<String, Entry> all, Tag tag, Optional<String> parentTag) {
    if (all.get(tag.value()) instanceof Entry.Deleting) {
      throw new ForkdException(
          ErrorCode.ABORTED, "snapshot '" + tag + "' is just being deleted; try again");
    }
    if (all.containsKey(tag.value())) {
      throw taken(tag);
    }
    parentTag
        .filter(parent -> !(all.get(parent) instanceof Entry.Ready))
        .ifPresent(parent -> {
          throw new ForkdException(
              ErrorCode.FAILED_PRECONDITION,
              "parent_tag: snapshot '" + parent + "' was just deleted; branch without parent_tag");
        });
  }

  /** Shows what is known of a reserved snapshot whose files are still being written. */
  public Snapshot writing(Tag tag, Lineage lineage, Optional<String> warning) {
    Entry.Writing entry =
        new Entry.Writing(
            System.currentTimeMillis() / 1000, lineage.parentTag(), Optional.of(lineage), warning);
    entries.put(tag.value(), entry);
    return views.view(tag.value(), entry);
  }

  /** Shows that a snapshot could not be written, of which nothing is left but its tag. */
  public void failed(Tag tag, String why) {
    entries.put(
        tag.value(),
        new Entry.Damaged(why, System.currentTimeMillis() / 1000, false, Optional.empty()));
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
    entries.put(tag.value(), ready);
    return views.view(tag.value(), ready);
  }

  /**
   * Gives a reserved tag back, with everything written for it. Files go first: on a full disk there
   * is room to note it only afterwards. A row that stays nevertheless is undone by the next daemon;
   * until then the tag is shown as damaged, and can be deleted.
   */
  public void abandon(Tag tag) {
    String name = tag.value();
    try {
      SnapshotFiles.delete(dir.snapshot(name));
      letGo(name);
      store.deleteSnapshot(name);
      entries.remove(name);
    } catch (ForkdException e) {
      // The failure that led here is the one to tell.
      System.getLogger(SnapshotCatalog.class.getName())
          .log(System.Logger.Level.WARNING, "undo of snapshot {0}: {1}", name, e.message());
      entries.put(
          name,
          new Entry.Damaged(
              "it was never completed, and not all of it could be removed: "
                  + e.message()
                  + ". Delete it (forkd rmi)",
              System.currentTimeMillis() / 1000,
              false,
              Optional.empty()));
    }
  }

  /** See {@link dev.forkd.engine.ForkdEngine#deleteSnapshot}. */
  public void delete(Tag tag, DeleteMode mode) {
    removal.delete(tag, mode);
  }

  private void letGo(String tag) {
    removeImages(ledger.release(holder(tag)));
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

  /** All images a snapshot needs, those it shares as well. */
  public static List<String> images(SnapshotManifest manifest) {
    List<String> images = new ArrayList<>();
    manifest.memory().forEach(image -> images.add(image.id()));
    manifest.disk().forEach(layer -> images.add(layer.id()));
    return images;
  }
}
