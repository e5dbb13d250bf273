package dev.forkd.local;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
import dev.forkd.branch.Brancher;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.EngineConfig;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.RecoveryReport;
import dev.forkd.engine.Snapshot;
import dev.forkd.fault.FaultPoint;
import dev.forkd.fork.Forker;
import dev.forkd.fork.HostProfile;
import dev.forkd.fork.WarmUp;
import dev.forkd.fork.Zygotes;
import dev.forkd.guest.AgentEvents;
import dev.forkd.guest.GuestAgent;
import dev.forkd.hosted.HostedKeeper;
import dev.forkd.linux.Cgroup;
import dev.forkd.linux.CgroupSupport;
import dev.forkd.memory.MemoryStore;
import dev.forkd.pool.PoolKeeper;
import dev.forkd.sandbox.Admission;
import dev.forkd.sandbox.Handshake;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.Compactor;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.state.DataDir;
import dev.forkd.state.DataDirLock;
import dev.forkd.state.SqliteStateStore;
import dev.forkd.state.StateStore;
import dev.forkd.template.CopyHelperBinary;
import dev.forkd.template.ForkdHome;
import dev.forkd.template.Rebooter;
import dev.forkd.template.TemplateAssets;
import dev.forkd.template.TemplateBaker;
import dev.forkd.vmm.Isolation;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.Vmm;
import dev.forkd.vmm.qemu.QemuInstallation;
import dev.forkd.vmm.qemu.QemuVmm;
import dev.forkd.workspace.WorkspaceKeeper;
import java.nio.file.Path;
import java.time.InstantSource;
import java.util.ArrayDeque;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.ScheduledExecutorService;
import java.util.function.Consumer;

/** Puts an engine together from its parts, in the order in which they depend on each other. */
public final class EngineStart {
  /** Guests that may be busy at once under emulation; see {@link Admission}. */
  private static final int CORES = Math.max(2, Runtime.getRuntime().availableProcessors());

  /** Templates whose children shall find a zygote from the start: the newest ones. */
  private static final int PREPARED_TEMPLATES = 2;

  private EngineStart() {}

  /** See {@link dev.forkd.engine.EngineFactory#open}. */
  public static ForkdEngine open(EngineConfig config) {
    Deque<AutoCloseable> opened = new ArrayDeque<>();
    try {
      return open(config, opened);
    } catch (RuntimeException e) {
      closeAll(opened);
      throw e;
    }
  }

  private static ForkdEngine open(EngineConfig config, Deque<AutoCloseable> opened) {
    DataDir dir = DataDir.open(config.dataDir());
    opened.push(DataDirLock.acquire(dir));
    dir.cleanStaging();
    StateStore store = SqliteStateStore.open(dir.database());
    opened.push(store);
    Path home = ForkdHome.find();
    Vmm vmm =
        new QemuVmm(
            QemuInstallation.of(System.getenv()),
            dir.guest().resolve("kvm-probe"),
            new CopyHelperBinary(home, dir.guest()).build());
    opened.push(vmm);
    TemplateAssets assets = new TemplateAssets(dir.root(), home);
    MemoryStore memory = new MemoryStore(dir.ram(), dir.staging());
    opened.push(memory);
    DiskLayers layers = new DiskLayers(dir.images(), dir.staging());
    opened.push(layers);
    ImageLedger ledger = new ImageLedger();
    SnapshotCatalog snapshots = new SnapshotCatalog(dir, store, ledger, memory, layers);
    Sandboxes sandboxes = new Sandboxes(store, ledger, memory, layers);
    Admission admission = new Admission(Admission.Rules.of(CORES, config.queueMax()));
    opened.push(admission);
    ScheduledExecutorService clock = Threads.clock("idle-clock");
    opened.push(clock::shutdownNow);
    ExecutorService starters = Threads.virtualExecutor("fork", CORES);
    opened.push(starters::shutdownNow);
    boolean emulated = vmm.capabilities().isolation() == Isolation.EMULATION;
    Handshake handshake = new Handshake();
    CgroupSupport cgroups = Cgroup.detect();
    Zygotes zygotes =
        new Zygotes(
            new Zygotes.Parts(
                dir,
                vmm,
                memory,
                layers,
                ledger,
                snapshots,
                cgroups,
                new WarmUp(handshake, EngineStart::connect)));
    opened.push(zygotes);
    Sandbox.Shared shared =
        new Sandbox.Shared(
            handshake,
            emulated ? Optional.of(admission) : Optional.empty(),
            emulated,
            clock,
            sandboxes::save);
    Forker.Parts parts =
        new Forker.Parts(
            dir,
            store,
            ledger,
            memory,
            layers,
            snapshots,
            sandboxes,
            vmm,
            HostProfile.of(vmm.capabilities(), assets.tscKhz()),
            cgroups,
            zygotes,
            EngineStart::connect,
            shared);
    Forker forker = new Forker(parts, starters);
    Brancher brancher =
        new Brancher(
            new Brancher.Parts(snapshots, sandboxes, memory, layers, ledger, zygotes),
            config.branchConcurrency());
    TemplateBaker.Parts baking =
        new TemplateBaker.Parts(dir, assets, snapshots, memory, layers, ledger, vmm);
    Rebooter rebooter = new Rebooter(baking);
    WorkspaceKeeper workspaces =
        new WorkspaceKeeper(
            store,
            new LocalWorkspaceHost(forker, brancher, sandboxes, snapshots, zygotes, rebooter),
            InstantSource.system(),
            FaultPoint.ofSystem());
    HostedKeeper hosted =
        new HostedKeeper(
            store,
            workspaces,
            new LocalHostedHost(sandboxes, brancher, snapshots, zygotes, rebooter),
            InstantSource.system());
    assets.forgetOld();
    RecoveryReport recovery =
        new Recovery(parts).run().andSettled(workspaces.recover()).andSettled(hosted.recover());
    zygotes.prepare(newestTemplates(snapshots));
    PoolKeeper pools =
        new PoolKeeper(
            new PoolKeeper.Parts(
                store,
                snapshots,
                sandboxes,
                forker,
                () -> shared.admission().map(Admission::contended).orElse(false)));
    forker.use(pools);
    pools.start();
    return new LocalEngine(
        snapshots,
        new Compactor(snapshots, memory, ledger),
        sandboxes,
        forker,
        brancher,
        new TemplateBaker(baking),
        zygotes,
        workspaces,
        hosted,
        pools,
        shared.admission(),
        recovery,
        config.killOnExit(),
        () -> closeAll(opened));
  }

  private static List<Tag> newestTemplates(SnapshotCatalog snapshots) {
    return snapshots.list().stream()
        .filter(Snapshot::template)
        .sorted(Comparator.comparingLong(Snapshot::createdAtUnix).reversed())
        .limit(PREPARED_TEMPLATES)
        .map(Snapshot::tag)
        .toList();
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

  private static void closeAll(Deque<AutoCloseable> opened) {
    while (!opened.isEmpty()) {
      try {
        opened.pop().close();
      } catch (Exception e) {
        System.getLogger(EngineStart.class.getName())
            .log(System.Logger.Level.WARNING, "closing the engine", e);
      }
    }
  }
}
