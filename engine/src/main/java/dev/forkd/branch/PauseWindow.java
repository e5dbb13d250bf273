package dev.forkd.branch;

import dev.forkd.api.ForkdException;
import dev.forkd.guest.FreezeResult;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/**
 * The time a branch keeps its source from running. Before it the overlay is made and user processes
 * are frozen inside the guest, so that nothing of the user's runs in a child before its handshake;
 * after it they thaw. Always ends with the source as it was found.
 */
final class PauseWindow {
  private static final Duration FREEZE_TIMEOUT = Duration.ofSeconds(10);

  private final Sandbox source;
  private final Path devices;
  private final DiskLayer overlay;
  private final Sandbox.BranchGrip grip;
  private boolean frozen;

  PauseWindow(Sandbox source, Path devices, DiskLayer overlay, Sandbox.BranchGrip grip) {
    this.source = source;
    this.devices = devices;
    this.overlay = overlay;
    this.grip = grip;
  }

  /** Whether user processes are frozen in what was saved. */
  boolean frozen() {
    return frozen;
  }

  BranchTimes run(MemoryCopy copy) {
    RunningVm vm = source.vm();
    vm.execute(new VmCommand.AddOverlay(overlay));
    boolean switched = false;
    long freezeNanos = 0;
    long pauseNanos = 0;
    try {
      if (grip.running()) {
        long begin = System.nanoTime();
        FreezeResult freeze = grip.agent().freeze(FREEZE_TIMEOUT);
        freezeNanos = System.nanoTime() - begin;
        frozen = freeze.frozen();
      }
      long begin = System.nanoTime();
      try {
        vm.execute(
            List.of(
                new VmCommand.Pause(),
                new VmCommand.SaveDevices(devices),
                new VmCommand.SwitchOverlay(overlay)));
        copy.copy();
      } finally {
        switched = vm.disk().active().equals(overlay);
        if (grip.running()) {
          vm.execute(new VmCommand.Resume());
        }
        pauseNanos = System.nanoTime() - begin;
      }
    } finally {
      if (!switched) {
        vm.execute(new VmCommand.DropOverlay(overlay));
      }
      if (grip.running()) {
        thaw();
      }
    }
    return new BranchTimes(
        Math.ceilDiv(pauseNanos, 1_000_000),
        Math.ceilDiv(freezeNanos, 1_000_000),
        copy.diffMillis(),
        copy.diffBytes());
  }

  private void thaw() {
    try {
      grip.agent().thaw(FREEZE_TIMEOUT);
    } catch (ForkdException e) {
      // The guest is not answering at all; the next request to it says so with its own words.
      System.getLogger(PauseWindow.class.getName())
          .log(System.Logger.Level.WARNING, "thaw of {0}: {1}", source.id(), e.message());
    }
  }
}
