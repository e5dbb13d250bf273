package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.SnapshotDetail;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.SnapshotManifest.LayerRef;
import dev.forkd.snapshot.SnapshotManifest.Lineage;
import dev.forkd.state.DataDir;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/** Snapshots as those who ask for them see them. */
final class SnapshotViews {
  private final DataDir dir;
  private final MemoryStore memory;
  private final DiskLayers layers;

  SnapshotViews(DataDir dir, MemoryStore memory, DiskLayers layers) {
    this.dir = dir;
    this.memory = memory;
    this.layers = layers;
  }

  Snapshot view(String tag, Entry entry) {
    return switch (entry) {
      case Entry.Writing writing -> writing(tag, writing);
      case Entry.Damaged damaged ->
          bare(
              tag,
              damaged.createdAtUnix(),
              Snapshot.Status.FAILED,
              damaged.template(),
              damaged.parentTag(),
              Optional.of(damaged.why()));
      case Entry.Deleting _ -> throw Entries.unknown(new Tag(tag));
      case Entry.Ready(SnapshotManifest manifest) -> ready(tag, manifest);
    };
  }

  private Snapshot writing(String tag, Entry.Writing entry) {
    Optional<Lineage> branch = entry.lineage();
    return new Snapshot(
        new Tag(tag),
        dir.snapshot(tag),
        entry.sinceUnix(),
        Snapshot.Status.WRITING,
        false,
        entry.parentTag().map(Tag::new),
        branch.map(Lineage::parent).map(Tag::new),
        branch.map(lineage -> new SandboxId(lineage.branchedFrom())),
        branch.map(Lineage::mode),
        number(branch.map(Lineage::pauseMillis)),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        number(branch.map(Lineage::freezeMillis)),
        0,
        0,
        0,
        0,
        entry.warning());
  }

  private Snapshot ready(String tag, SnapshotManifest m) {
    Optional<Lineage> branch = m.lineage().filter(Lineage::branched);
    return new Snapshot(
        new Tag(tag),
        dir.snapshot(tag),
        m.createdAtUnix(),
        Snapshot.Status.READY,
        m.template(),
        m.lineage().flatMap(Lineage::parentTag).map(Tag::new),
        m.lineage().map(Lineage::parent).map(Tag::new),
        branch.map(lineage -> new SandboxId(lineage.branchedFrom())),
        m.lineage().map(Lineage::mode),
        number(branch.map(Lineage::pauseMillis)),
        branch.map(Lineage::diffMillis).orElse(OptionalLong.empty()),
        branch.map(Lineage::diffPhysicalBytes).orElse(OptionalLong.empty()),
        branch.map(Lineage::diffLogicalBytes).orElse(OptionalLong.empty()),
        number(branch.map(Lineage::freezeMillis)),
        m.memoryMib(),
        Math.toIntExact(m.diskBytes() >> 20),
        m.memory().stream().limit(1).mapToLong(MemoryImage::storedBytes).sum(),
        stored(m.disk().getLast()),
        Optional.empty());
  }

  private static OptionalLong number(Optional<Long> value) {
    return value.map(OptionalLong::of).orElse(OptionalLong.empty());
  }

  private Snapshot bare(
      String tag,
      long createdAt,
      Snapshot.Status status,
      boolean template,
      Optional<String> parentTag,
      Optional<String> warning) {
    return new Snapshot(
        new Tag(tag),
        dir.snapshot(tag),
        createdAt,
        status,
        template,
        parentTag.map(Tag::new),
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
        0,
        warning);
  }

  private long stored(LayerRef ref) {
    return Files.exists(Layers.layer(ref, layers).path())
        ? layers.storedBytes(Layers.layer(ref, layers))
        : 0;
  }

  /**
   * Everything about one snapshot that can be started.
   *
   * @param all what there is beside it
   * @throws ForkdException DATA_LOSS when a file, or an ancestor, is missing or is not what it was
   */
  SnapshotDetail detail(SnapshotManifest manifest, Map<String, Entry> all) {
    Chains chains = new Chains(all);
    List<String> ancestors = chains.ancestors(manifest.tag());
    List<LayerRef> disk = manifest.disk();
    List<MemoryImage> below = manifest.memory().subList(1, manifest.memory().size());
    return new SnapshotDetail(
        new Tag(manifest.tag()),
        dir.snapshot(manifest.tag()),
        manifest.createdAtUnix(),
        (long) manifest.memoryMib() << 20,
        memory.storedBytes(manifest.memory().getFirst()),
        below.stream().mapToLong(memory::storedBytes).sum(),
        size(dir.snapshot(manifest.tag()).resolve(SnapshotFiles.DEVICES)),
        stored(disk.getLast()),
        disk.subList(0, disk.size() - 1).stream().mapToLong(this::stored).sum(),
        manifest.memory().getFirst().contentHash(),
        manifest.lineage().flatMap(Lineage::parentTag).map(Tag::new),
        Chains.parentHash(manifest),
        ancestors.stream().map(Tag::new).toList(),
        chains.children(manifest.tag()).stream().map(Tag::new).toList());
  }

  private static long size(Path file) {
    try {
      return Files.size(file);
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.DATA_LOSS, "device state " + file + " is missing", e);
    }
  }
}
