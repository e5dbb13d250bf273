package dev.forkd.snapshot;

import dev.forkd.api.Tag;
import dev.forkd.disk.DiskLayers;
import dev.forkd.linux.Memfd;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.SnapshotManifest.LayerRef;
import dev.forkd.snapshot.SnapshotManifest.Lineage;
import dev.forkd.state.DataDir;
import dev.forkd.state.SqliteStateStore;
import dev.forkd.state.StateStore;
import dev.forkd.vmm.DiskLayer;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/** A data directory with snapshots in it that no VM was needed for. */
final class SnapshotShelf implements AutoCloseable {
  static final int MEMORY_MIB = 1;
  static final int PAGES = (MEMORY_MIB << 20) / PageRuns.PAGE_BYTES;

  final DataDir dir;
  final StateStore store;
  final MemoryStore memory;
  final DiskLayers layers;
  final ImageLedger ledger = new ImageLedger();
  final SnapshotCatalog catalog;
  final Compactor compactor;

  /** What {@link SnapshotCatalog#load} settled. */
  final List<String> settled;

  SnapshotShelf(Path root) {
    Path runtime = root.resolve("r");
    try {
      Files.createDirectories(runtime);
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
    dir = DataDir.open(root.resolve("data"), Map.of("XDG_RUNTIME_DIR", runtime.toString()));
    dir.cleanStaging();
    store = SqliteStateStore.open(dir.database());
    memory = new MemoryStore(dir.ram(), dir.staging());
    layers = new DiskLayers(dir.images(), dir.staging());
    catalog = new SnapshotCatalog(dir, store, ledger, memory, layers);
    compactor = new Compactor(catalog, memory, ledger);
    settled = catalog.load();
  }

  /** A flat one whose page 0 holds the tag. */
  SnapshotManifest base(String tag) throws IOException {
    Memfd flat = Memfd.create("base", (long) MEMORY_MIB << 20);
    try (FileChannel channel = flat.channel()) {
      channel.write(ByteBuffer.wrap(tag.getBytes(StandardCharsets.UTF_8)), 0);
    }
    Path root = Files.writeString(dir.staging().resolve("root-" + tag), "disk of " + tag);
    LayerRef rootLayer = Layers.sealed(layers.adoptRoot("r" + tag, root), layers);
    reserve(tag, Optional.empty());
    MemoryImage image = memory.addFlat("m" + tag, flat);
    return complete(tag, List.of(image), List.of(rootLayer), Optional.empty());
  }

  /** One branched from a child of {@code parent}, with page {@code page} its own. */
  SnapshotManifest branch(String tag, String parent, int page, boolean link) throws IOException {
    SnapshotManifest below = catalog.find(new Tag(parent)).orElseThrow();
    if (link) {
      catalog.checkLink(new Tag(parent), below.memory());
    }
    Optional<Lineage> lineage = Optional.of(lineage(parent, link));
    reserve(tag, lineage);
    PageRuns.Builder runs = new PageRuns.Builder();
    runs.add(page, 1);
    MemoryImage image;
    try (PageBuffer buffer = new PageBuffer()) {
      buffer.ensure(PageRuns.PAGE_BYTES);
      buffer.slice(0, PageRuns.PAGE_BYTES).put(tag.getBytes(StandardCharsets.UTF_8));
      image = memory.addDelta(unused("m" + tag), below.memory().getFirst(), runs.build(), buffer);
    }
    String layer = unused("d" + tag);
    Files.writeString(dir.images().resolve(layer + ".qcow2"), "disk of " + tag);
    List<MemoryImage> chain = new ArrayList<>(below.memory());
    chain.addFirst(image);
    List<LayerRef> disk = new ArrayList<>(below.disk());
    disk.add(Layers.sealed(layers.layer(layer, DiskLayer.Format.QCOW2), layers));
    return complete(tag, chain, disk, lineage);
  }

  /** Images outlive the tag they were made for. */
  private String unused(String id) {
    return ledger.isHeld(id) ? unused(id + "x") : id;
  }

  SnapshotManifest link(String tag, String parent, int page) throws IOException {
    return branch(tag, parent, page, true);
  }

  static Lineage lineage(String parent, boolean link) {
    return new Lineage(
        parent,
        "sb1",
        link ? Optional.of(parent) : Optional.empty(),
        "diff",
        7,
        1,
        OptionalLong.of(1),
        OptionalLong.of(4096),
        OptionalLong.of(1 << 20));
  }

  Path reserve(String tag, Optional<Lineage> lineage) {
    return catalog.reserve(new Tag(tag), lineage.isEmpty(), lineage, 1_700_000_000);
  }

  private SnapshotManifest complete(
      String tag, List<MemoryImage> chain, List<LayerRef> disk, Optional<Lineage> lineage)
      throws IOException {
    Path devices = dir.snapshot(tag).resolve(SnapshotFiles.DEVICES);
    Files.writeString(devices, "devices of " + tag);
    SnapshotManifest manifest =
        new SnapshotManifest(
            SnapshotManifest.VERSION,
            tag,
            1_700_000_000,
            lineage.isEmpty(),
            Optional.empty(),
            new SnapshotManifest.Platform("QEMU 7.2", "emulation", "abcd", 1, "6.1", "ff"),
            MEMORY_MIB,
            1 << 20,
            chain,
            disk,
            SnapshotFiles.sha256(devices),
            "ab".repeat(32),
            true,
            Optional.empty(),
            lineage);
    catalog.complete(new Tag(tag), manifest);
    return manifest;
  }

  /** What a page of the snapshot's memory begins with, read through its files. */
  String page(String tag, int page, int chars) throws IOException {
    SnapshotManifest manifest = catalog.require(new Tag(tag));
    try (MemoryStore.Lease lease = memory.lease(manifest.memory());
        FileChannel in = lease.memory().channel()) {
      ByteBuffer into = ByteBuffer.allocate(chars);
      in.read(into, (long) page * PageRuns.PAGE_BYTES);
      return new String(into.array(), StandardCharsets.UTF_8);
    }
  }

  @Override
  public void close() {
    layers.close();
    memory.close();
    store.close();
  }
}
