package dev.forkd.testkit;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
import dev.forkd.branch.Brancher;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.Certificate;
import dev.forkd.fork.Forker;
import dev.forkd.fork.HostProfile;
import dev.forkd.fork.WarmUp;
import dev.forkd.fork.Zygotes;
import dev.forkd.guest.AgentEvents;
import dev.forkd.guest.GuestAgent;
import dev.forkd.linux.Cgroup;
import dev.forkd.linux.CgroupSupport;
import dev.forkd.linux.Memfd;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.sandbox.Handshake;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.snapshot.Layers;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotFiles;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.snapshot.SnapshotManifest.LayerRef;
import dev.forkd.state.DataDir;
import dev.forkd.state.SandboxRow;
import dev.forkd.state.SandboxState;
import dev.forkd.state.SqliteStateStore;
import dev.forkd.state.StateStore;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.ScheduledExecutorService;
import java.util.function.Consumer;
import java.util.stream.Stream;

/**
 * The engine's parts put together over a monitor and guests that are not there, in a data directory
 * with one snapshot {@code base}. Whatever a test lets fail, what is left afterwards can be seen.
 */
public final class Workbench implements AutoCloseable {
  public static final Tag BASE = new Tag("base");
  private static final int MEMORY_MIB = 1;
  private static final int DISK_BYTES = 1 << 20;
  private static final String TOKEN = "ab".repeat(32);
  private static final int TSC_KHZ = 1;

  /** Of the real one. */
  private static final Duration PATIENCE = Duration.ofSeconds(20);

  public final Faults faults;
  public final Map<String, FakeGuest> guests;
  public final FakeVmm vmm;
  public final DataDir dir;
  public final StateStore store;
  public final MemoryStore memory;
  public final DiskLayers layers;
  public final ImageLedger ledger = new ImageLedger();
  public final SnapshotCatalog snapshots;
  public final Sandboxes sandboxes;
  public final Zygotes zygotes;
  public final Brancher brancher;

  private final Duration patience;
  public final Handshake handshake;

  public final Forker.Parts parts;
  private final ScheduledExecutorService clock = Threads.clock("workbench-clock");
  private final ExecutorService starters = Threads.virtualExecutor("workbench-fork", 2);
  private final Path root;
  private int sandboxNumber;

  /** In an empty folder. */
  public Workbench(Path root, CgroupSupport cgroups) {
    this(root, cgroups, false, PATIENCE, new Faults(), new ConcurrentHashMap<>(), Optional.empty());
  }

  /** One whose sandboxes are paused as soon as they have nothing to do. */
  public static Workbench pausing(Path root) {
    return new Workbench(
        root,
        new CgroupSupport.None("a test needs none"),
        true,
        PATIENCE,
        new Faults(),
        new ConcurrentHashMap<>(),
        Optional.empty());
  }

  /** One with little patience in handshakes: tests of silence have to wait for its end. */
  public static Workbench impatient(Path root) {
    return new Workbench(
        root,
        new CgroupSupport.None("a test needs none"),
        false,
        Duration.ofSeconds(3),
        new Faults(),
        new ConcurrentHashMap<>(),
        Optional.empty());
  }

  private Workbench(
      Path root,
      CgroupSupport cgroups,
      boolean pausing,
      Duration patience,
      Faults faults,
      Map<String, FakeGuest> guests,
      Optional<FakeVmm> monitor) {
    this.root = root;
    this.patience = patience;
    this.handshake = new Handshake(patience);
    this.faults = faults;
    this.guests = guests;
    vmm =
        monitor.orElseGet(
            () -> new FakeVmm(faults, id -> guests.computeIfAbsent(id, _ -> new FakeGuest())));
    Path runtime = root.resolve("r");
    try {
      Files.createDirectories(runtime);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    dir = DataDir.open(root.resolve("data"), Map.of("XDG_RUNTIME_DIR", runtime.toString()));
    dir.cleanStaging();
    store = FaultyStore.of(SqliteStateStore.open(dir.database()), faults);
    memory = new MemoryStore(dir.ram(), dir.staging());
    layers = new DiskLayers(dir.images(), dir.staging());
    snapshots = new SnapshotCatalog(dir, store, ledger, memory, layers);
    sandboxes = new Sandboxes(store, ledger, memory, layers);
    zygotes =
        new Zygotes(
            new Zygotes.Parts(
                dir,
                vmm,
                memory,
                layers,
                ledger,
                snapshots,
                new CgroupSupport.None("a test needs none"),
                new WarmUp(handshake, Workbench::connect)));
    brancher =
        new Brancher(new Brancher.Parts(snapshots, sandboxes, memory, layers, ledger, zygotes), 4);
    parts =
        new Forker.Parts(
            dir,
            store,
            ledger,
            memory,
            layers,
            snapshots,
            sandboxes,
            vmm,
            HostProfile.of(vmm.capabilities(), TSC_KHZ),
            cgroups,
            zygotes,
            Workbench::connect,
            new Sandbox.Shared(handshake, Optional.empty(), pausing, clock, sandboxes::save));
  }

  public Workbench(Path root) {
    this(root, new CgroupSupport.None("a test needs none"));
  }

  private static GuestAgent connect(
      RunningVm vm, String id, Runnable changed, Consumer<ForkdException> lost) {
    return GuestAgent.attach(
        id,
        vm.agent(),
        new AgentEvents() {
          @Override
          public void changed() {
            changed.run();
          }

          @Override
          public void lost(ForkdException why) {
            lost.accept(why);
          }
        });
  }

  public Forker forker() {
    return new Forker(parts, starters);
  }

  /** Makes the snapshot {@link #BASE}, as if a child of another had been branched. */
  public Workbench withBase() throws IOException {
    Memfd flat = Memfd.create("base", (long) MEMORY_MIB << 20);
    try (FileChannel channel = flat.channel()) {
      channel.write(ByteBuffer.wrap("memory".getBytes(StandardCharsets.UTF_8)), 0);
    }
    Path root = Files.writeString(dir.staging().resolve("root"), "disk");
    String rootId = layers.adoptRoot("rbase", root).id();
    snapshots.reserve(BASE, false, Optional.empty(), 1_700_000_000);
    MemoryImage image = memory.addFlat("mbase", flat);
    Path devices = dir.snapshot(BASE.value()).resolve(SnapshotFiles.DEVICES);
    Files.writeString(devices, "devices");
    HostProfile host = parts.host();
    snapshots.complete(
        BASE,
        new SnapshotManifest(
            SnapshotManifest.VERSION,
            BASE.value(),
            1_700_000_000,
            false,
            Optional.empty(),
            new SnapshotManifest.Platform(
                host.vmm(), host.isolation(), host.machineHash(), TSC_KHZ, "6.1", "ff"),
            MEMORY_MIB,
            DISK_BYTES,
            List.of(image),
            List.of(new LayerRef(rootId, "raw", OptionalLong.empty(), Optional.empty())),
            SnapshotFiles.sha256(devices),
            TOKEN,
            true,
            Optional.empty(),
            Optional.empty()));
    return this;
  }

  /** A child of {@link #BASE} with its row and files, listed. */
  public Sandbox sandbox(Optional<Cgroup> cgroup) throws IOException {
    SnapshotManifest base = snapshots.require(BASE);
    String id = "sb%012x".formatted(++sandboxNumber);
    try (MemoryStore.Lease lease = memory.lease(base.memory())) {
      SandboxRecord record =
          new SandboxRecord(
              id,
              base.tag(),
              base.platform(),
              System.currentTimeMillis() / 1000,
              base.memoryMib(),
              base.diskBytes(),
              lease.memory().inode(),
              Optional.empty(),
              base.memory(),
              base.disk(),
              "d" + id,
              TOKEN,
              "cd".repeat(32),
              true,
              OptionalLong.empty(),
              0,
              Optional.empty(),
              Optional.empty(),
              Certificate.pending());
      ledger.hold(Sandboxes.holder(id), record.images());
      DiskLayer overlay = layers.newOverlay(record.activeLayer(), record.diskBytes());
      RunningVm vm =
          vmm.restore(
              new RestoreSpec(
                  new VmName(id, dir.runtimeDir()),
                  new VmHardware(MEMORY_MIB),
                  lease.memory(),
                  new DiskChain(
                      record.disk().stream().map(ref -> Layers.layer(ref, layers)).toList(),
                      overlay),
                  snapshots.devices(base.tag()),
                  _ -> {},
                  false));
      store.insertSandbox(
          new SandboxRow(
              id,
              SandboxState.LIVE,
              base.tag(),
              vm.process().pid(),
              vm.process().startTicks(),
              System.currentTimeMillis(),
              Optional.empty(),
              record.toJson()));
      Sandbox sandbox =
          new Sandbox(record, vm, parts.agents(), false, "emulation", cgroup, parts.shared());
      sandboxes.add(sandbox);
      return sandbox;
    }
  }

  public Sandbox sandbox() throws IOException {
    return sandbox(Optional.empty());
  }

  /** The guest of a sandbox. */
  public FakeGuest guest(Sandbox sandbox) {
    return guests.computeIfAbsent(sandbox.id().value(), _ -> new FakeGuest());
  }

  /** A limit-less cgroup in a folder that only looks like a cgroup file system. */
  public static Cgroup cgroup(Path parent, String name) throws IOException {
    return Cgroup.create(hierarchy(parent), name, OptionalLong.empty(), OptionalInt.empty());
  }

  public static CgroupSupport hierarchy(Path parent) {
    return new CgroupSupport.V1(new CgroupSupport.Hierarchy(parent, parent), Optional.empty());
  }

  /** All files below the data directory and its sockets, but for what is there once and for all. */
  public Set<String> files() throws IOException {
    Set<String> found = new TreeSet<>();
    for (Path folder :
        List.of(dir.images(), dir.ram(), dir.snapshots(), dir.staging(), dir.runtimeDir())) {
      try (Stream<Path> entries = Files.walk(folder)) {
        entries
            .filter(entry -> !entry.equals(folder))
            .map(entry -> folder.getFileName() + "/" + folder.relativize(entry))
            .filter(name -> !name.contains("empty-") && !name.contains("sqlite-"))
            .forEach(found::add);
      }
    }
    return found;
  }

  /** Lets go of all, as a daemon does that leaves its sandboxes running. */
  public void leave() {
    sandboxes.all().forEach(Sandbox::release);
    closeRest();
  }

  /** The next one in the same folder, over the same VMs; nothing is recovered yet. */
  public Workbench successor() {
    return new Workbench(
        root,
        parts.cgroups(),
        parts.shared().pausing(),
        patience,
        faults,
        guests,
        Optional.of(vmm));
  }

  /** Ends what runs; the folder stays as it is. */
  @Override
  public void close() {
    faults.clear();
    sandboxes.all().forEach(sandbox -> sandboxes.kill(sandbox.id()));
    closeRest();
  }

  private void closeRest() {
    zygotes.close();
    clock.shutdownNow();
    starters.shutdownNow();
    memory.close();
    store.close();
  }
}
