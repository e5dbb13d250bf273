package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.fault.FaultPoint;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.vmm.AttachSpec;
import dev.forkd.vmm.BootSpec;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.GuestMemory;
import dev.forkd.vmm.Isolation;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.VmExit;
import dev.forkd.vmm.VmName;
import dev.forkd.vmm.VmProcess;
import dev.forkd.vmm.Vmm;
import dev.forkd.vmm.VmmCapabilities;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/**
 * A monitor without guests: a sleeping process stands for each VM, and everything the port promises
 * about processes, sockets, pausing and disks is kept. What a guest does is not, but for a {@link
 * FakeGuest} who answers as its agent.
 *
 * <p>Each step can be made to fail: {@code vmm.} and the command ({@code pause}, {@code resume},
 * {@code save}, {@code add-overlay}, {@code switch-overlay}, {@code stack-overlay}, {@code
 * drop-overlay}), {@code attach}, {@code boot}, {@code restore}, {@code copier}, {@code freeze},
 * {@code copy}, {@code finish}, {@code read} or {@code kill}.
 */
public final class FakeVmm implements Vmm {
  private final ConcurrentHashMap<Integer, FakeVm> vms = new ConcurrentHashMap<>();
  private final FaultPoint faults;
  private final Optional<Function<String, FakeGuest>> guests;

  /** Nothing fails, and nobody answers on the agent's sockets. */
  public FakeVmm() {
    this(_ -> {}, Optional.empty());
  }

  /**
   * @param faults hears of each step
   * @param guests gives the guest of a VM by its name
   */
  public FakeVmm(FaultPoint faults, Function<String, FakeGuest> guests) {
    this(faults, Optional.of(guests));
  }

  private FakeVmm(FaultPoint faults, Optional<Function<String, FakeGuest>> guests) {
    this.faults = faults;
    this.guests = guests;
  }

  @Override
  public VmmCapabilities capabilities() {
    return new VmmCapabilities(
        "fake", "1.0", Isolation.EMULATION, "fake-machine", Optional.empty());
  }

  @Override
  public RunningVm boot(BootSpec spec) {
    faults.reach("vmm.boot");
    return start(spec.name(), spec.hardware().memoryBytes(), spec.disk(), false);
  }

  @Override
  public RunningVm restore(RestoreSpec spec) {
    faults.reach("vmm.restore");
    if (!Files.isReadable(spec.devices())) {
      throw new ForkdException(
          ErrorCode.INTERNAL, "device state " + spec.devices() + " cannot be read");
    }
    FakeVm vm = start(spec.name(), spec.hardware().memoryBytes(), spec.disk(), true);
    spec.started().accept(vm.process().pid());
    return vm;
  }

  private FakeVm start(VmName name, long memoryBytes, DiskChain disk, boolean paused) {
    try {
      return adopt(new ProcessBuilder("sleep", "3600").start(), name, memoryBytes, disk, paused);
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "start fake VM " + name.id(), e);
    }
  }

  private FakeVm adopt(
      Process process, VmName name, long memoryBytes, DiskChain disk, boolean paused) {
    try {
      int pid = Math.toIntExact(process.pid());
      ServerSocketChannel server =
          ServerSocketChannel.open(StandardProtocolFamily.UNIX)
              .bind(UnixDomainSocketAddress.of(name.agentSocket()));
      guests.map(known -> known.apply(name.id())).ifPresent(guest -> guest.serve(server));
      FakeVm vm = new FakeVm(name, process.toHandle(), server, memoryBytes, disk, paused);
      vms.put(pid, vm);
      return vm;
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "start fake VM " + name.id(), e);
    }
  }

  /** Nothing is kept ready. */
  @Override
  public void close() {}

  @Override
  public RunningVm attach(AttachSpec spec) {
    faults.reach("vmm.attach");
    FakeVm vm = vms.get(spec.pid());
    if (vm == null || !new ProcessIdentity(spec.pid(), spec.startTicks()).isAlive()) {
      throw new ForkdException(
          ErrorCode.NOT_FOUND, "process " + spec.pid() + " of " + spec.name().id() + " is gone");
    }
    vm.connect();
    return vm;
  }

  /** One process that sleeps. */
  private final class FakeVm implements RunningVm {
    private final VmName name;
    private final ProcessHandle handle;
    private final VmProcess process;
    private final ServerSocketChannel server;
    private final long memoryBytes;
    private final Set<DiskLayer> opened = new HashSet<>();
    private SocketChannel agent;
    private DiskChain disk;
    private boolean paused;

    FakeVm(
        VmName name,
        ProcessHandle handle,
        ServerSocketChannel server,
        long memoryBytes,
        DiskChain disk,
        boolean paused)
        throws IOException {
      this.name = name;
      this.handle = handle;
      this.process =
          new VmProcess(
              Math.toIntExact(handle.pid()), ProcessIdentity.of(handle.pid()).startTicks());
      this.server = server;
      this.memoryBytes = memoryBytes;
      this.disk = disk;
      this.paused = paused;
      this.agent = SocketChannel.open(UnixDomainSocketAddress.of(name.agentSocket()));
    }

    void connect() {
      try {
        agent = SocketChannel.open(UnixDomainSocketAddress.of(name.agentSocket()));
      } catch (IOException e) {
        throw new ForkdException(ErrorCode.UNAVAILABLE, "attach to " + name.id(), e);
      }
    }

    @Override
    public VmProcess process() {
      return process;
    }

    @Override
    public SocketChannel agent() {
      return agent;
    }

    @Override
    public void execute(List<VmCommand> commands) {
      if (!handle.isAlive()) {
        throw new ForkdException(ErrorCode.UNAVAILABLE, "the process of " + name.id() + " is gone");
      }
      commands.forEach(this::run);
    }

    private void run(VmCommand command) {
      faults.reach("vmm." + step(command));
      switch (command) {
        case VmCommand.Pause _ -> paused = true;
        case VmCommand.Resume _ -> paused = false;
        case VmCommand.SaveDevices(Path file) -> save(file);
        case VmCommand.AddOverlay(DiskLayer overlay) -> {
          require(Files.exists(overlay.path()), "overlay " + overlay.path() + " does not exist");
          require(opened.add(overlay), "overlay " + overlay.id() + " is open already");
        }
        case VmCommand.SwitchOverlay(DiskLayer overlay) -> {
          require(opened.remove(overlay), "overlay " + overlay.id() + " is not open");
          disk = disk.switchedTo(overlay);
        }
        case VmCommand.StackOverlay(DiskLayer overlay) -> {
          require(Files.exists(overlay.path()), "overlay " + overlay.path() + " does not exist");
          require(!opened.contains(overlay), "overlay " + overlay.id() + " is open already");
          disk = disk.switchedTo(overlay);
        }
        case VmCommand.DropOverlay(DiskLayer overlay) ->
            require(opened.remove(overlay), "overlay " + overlay.id() + " is not open");
      }
    }

    private static String step(VmCommand command) {
      return switch (command) {
        case VmCommand.Pause _ -> "pause";
        case VmCommand.Resume _ -> "resume";
        case VmCommand.SaveDevices _ -> "save";
        case VmCommand.AddOverlay _ -> "add-overlay";
        case VmCommand.SwitchOverlay _ -> "switch-overlay";
        case VmCommand.StackOverlay _ -> "stack-overlay";
        case VmCommand.DropOverlay _ -> "drop-overlay";
      };
    }

    private void save(Path file) {
      try {
        Files.write(file, new byte[] {1});
      } catch (IOException e) {
        throw new ForkdException(ErrorCode.INTERNAL, "save devices to " + file, e);
      }
    }

    private static void require(boolean fine, String otherwise) {
      if (!fine) {
        throw new ForkdException(ErrorCode.INTERNAL, otherwise);
      }
    }

    @Override
    public boolean paused() {
      return paused;
    }

    @Override
    public GuestMemory memory() {
      return new GuestMemory() {
        @Override
        public long sizeBytes() {
          return memoryBytes;
        }

        @Override
        public PageRuns diverged() {
          return new PageRuns.Builder().build();
        }

        @Override
        public long ownBytes() {
          return 0;
        }

        @Override
        public void read(PageRuns pages, PageBuffer into) {
          // A fake guest has written no page: what there is is what was there before.
          faults.reach("vmm.read");
        }
      };
    }

    @Override
    public DiskChain disk() {
      return disk;
    }

    @Override
    public void mergeDisk(DiskLayer keep, Duration timeout) {
      disk = new DiskChain(disk.base().subList(0, disk.base().indexOf(keep) + 1), disk.active());
    }

    @Override
    public VmCopier copier(boolean owned) {
      faults.reach("vmm.copier");
      return new FakeCopier(this, owned);
    }

    @Override
    public String console() {
      return "";
    }

    @Override
    public CompletableFuture<VmExit> exit() {
      return handle.onExit().thenApply(ended -> new VmExit("the fake process ended"));
    }

    @Override
    public void kill() {
      faults.reach("vmm.kill");
      handle.destroyForcibly();
      handle.onExit().orTimeout(60, TimeUnit.SECONDS).join();
      close();
      try {
        server.close();
        Files.deleteIfExists(name.agentSocket());
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }

    @Override
    public void close() {
      try {
        agent.close();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  /** Another sleeping process is as good as a copy of the first. */
  private final class FakeCopier implements VmCopier {
    private final FakeVm source;
    private final boolean owned;
    private boolean frozen;

    FakeCopier(FakeVm source, boolean owned) {
      this.source = source;
      this.owned = owned;
    }

    @Override
    public void freeze() {
      faults.reach("vmm.freeze");
      FakeVm.require(source.paused, "the VM runs");
      frozen = true;
    }

    @Override
    public PendingVm copy() {
      faults.reach("vmm.copy");
      FakeVm.require(frozen && source.handle.isAlive(), "the source is not frozen");
      try {
        return new FakePending(new ProcessBuilder("sleep", "3600").start(), source);
      } catch (IOException e) {
        throw new ForkdException(ErrorCode.INTERNAL, "copy a fake VM", e);
      }
    }

    @Override
    public void thaw() {
      frozen = false;
    }

    @Override
    public void close() {
      frozen = false;
      if (owned) {
        source.kill();
      }
    }
  }

  private final class FakePending implements VmCopier.PendingVm {
    private final Process process;
    private final FakeVm source;
    private final DiskChain disk;
    private boolean finished;

    FakePending(Process process, FakeVm source) {
      this.process = process;
      this.source = source;
      this.disk = source.disk;
    }

    @Override
    public VmProcess process() {
      return new VmProcess(
          Math.toIntExact(process.pid()), ProcessIdentity.of(process.pid()).startTicks());
    }

    @Override
    public RunningVm finish(VmName name) {
      faults.reach("vmm.finish");
      finished = true;
      return adopt(process, name, source.memoryBytes, disk, true);
    }

    @Override
    public void close() {
      if (!finished) {
        process.destroyForcibly().onExit().orTimeout(60, TimeUnit.SECONDS).join();
      }
    }
  }
}
