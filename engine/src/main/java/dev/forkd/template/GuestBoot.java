package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.guest.AgentEvents;
import dev.forkd.guest.AgentReady;
import dev.forkd.guest.GuestAgent;
import dev.forkd.linux.Memfd;
import dev.forkd.snapshot.SnapshotFiles;
import dev.forkd.vmm.BootSpec;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.Consumer;

/**
 * A guest that boots from a disk, and is frozen once it has done what it was to do.
 *
 * @param what it is, for people
 * @param holder who holds the layers made meanwhile
 * @param timeout until the guest is up
 */
record GuestBoot(
    TemplateBaker.Parts parts,
    BootAssets assets,
    String what,
    String holder,
    int memoryMib,
    Duration timeout,
    Consumer<String> progress) {
  /**
   * Kernel arguments that a guest under emulation needs ({@code tsc_early_khz}: without it a busy
   * host's guest cannot calibrate its clock and hangs) or profits from, all measured.
   */
  private static final String COMMAND_LINE =
      "console=ttyS0 quiet panic=-1 mitigations=off nowatchdog tsc=reliable no_timer_check psi=0"
          + " preempt=none forkd.root=/dev/vda forkd.eval=auto tsc_early_khz=";

  private static final SecureRandom RANDOM = new SecureRandom();

  /** A busy host may starve a boot; a second try on a calmer one is worth its time. */
  private static final int ATTEMPTS = 2;

  private static final int CONSOLE_TAIL_CHARS = 3000;

  /** What is left of the VM: its memory, and what it wrote to its disk. */
  record Frozen(Memfd memory, DiskLayer overlay) {}

  /**
   * Boots, works and freezes; the VM is gone when this returns, its device state in the folder.
   *
   * @param below its disk's layers, the root first
   */
  Frozen run(
      List<DiskLayer> below, long diskBytes, Path folder, BiConsumer<GuestAgent, AgentReady> work)
      throws IOException {
    for (int attempt = 1; ; attempt++) {
      DiskLayer overlay = parts.layers().newOverlay("d" + randomHex(8), diskBytes);
      parts.ledger().hold(holder, List.of(overlay.id()));
      Memfd memory = Memfd.create("forkd-bake", (long) memoryMib << 20);
      boolean frozen = false;
      try {
        run(memory, new DiskChain(below, overlay), folder.resolve(SnapshotFiles.DEVICES), work);
        frozen = true;
        return new Frozen(memory, overlay);
      } catch (ForkdException e) {
        if (e.code() != ErrorCode.DEADLINE_EXCEEDED || attempt == ATTEMPTS) {
          throw e;
        }
      } finally {
        if (!frozen) {
          memory.close();
        }
      }
    }
  }

  private void run(
      Memfd memory, DiskChain disk, Path devices, BiConsumer<GuestAgent, AgentReady> work)
      throws IOException {
    Files.deleteIfExists(devices);
    String id = "tb" + randomHex(6);
    progress.accept("booting " + assets.kernelVersion());
    RunningVm vm =
        parts
            .vmm()
            .boot(
                new BootSpec(
                    new VmName(id, parts.dir().runtimeDir()),
                    new VmHardware(memoryMib),
                    memory,
                    disk,
                    assets.kernel(),
                    assets.initramfs(),
                    COMMAND_LINE + assets.tscKhz()));
    try (GuestAgent agent = GuestAgent.attach(id, vm.agent(), quiet())) {
      AgentReady ready = awaitReady(vm, agent);
      progress.accept("guest is up, evaluator: " + ready.evaluator());
      work.accept(agent, ready);
      vm.execute(List.of(new VmCommand.Pause(), new VmCommand.SaveDevices(devices)));
    } finally {
      vm.kill();
    }
  }

  private static AgentEvents quiet() {
    return new AgentEvents() {
      @Override
      public void changed() {}

      @Override
      public void lost(ForkdException why) {}
    };
  }

  private AgentReady awaitReady(RunningVm vm, GuestAgent agent) {
    try {
      agent.beginSync(GuestAgent.INITIAL_TOKEN);
      AgentReady ready = agent.awaitReady(timeout);
      if (ready.evaluator().equals("failed")) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION,
            "the interpreter does not start: " + ready.detail().orElse("no reason given"));
      }
      return ready;
    } catch (ForkdException e) {
      String console = vm.console();
      String tail = console.substring(Math.max(0, console.length() - CONSOLE_TAIL_CHARS)).strip();
      throw new ForkdException(
          e.code(),
          what
              + " did not get ready within "
              + timeout.toSeconds()
              + " s: "
              + e.message()
              + ". The end of its console:\n"
              + (tail.isEmpty() ? "(empty)" : tail),
          e);
    }
  }

  static String randomHex(int bytes) {
    byte[] random = new byte[bytes];
    RANDOM.nextBytes(random);
    return HexFormat.of().formatHex(random);
  }
}
