package dev.forkd.branch;

import dev.forkd.api.ForkdException;
import dev.forkd.guest.FreezeResult;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import java.time.Duration;

/**
 * The time a branch keeps its source from running. Just before it user processes are frozen inside
 * the guest, so that nothing of the user's runs in a child before its handshake; after it they
 * thaw. Always ends with the source as it was found.
 */
final class PauseWindow {
  private static final Duration FREEZE_TIMEOUT = Duration.ofSeconds(10);

  private final Sandbox source;
  private final DiskLayer overlay;
  private final Sandbox.BranchGrip grip;

  PauseWindow(Sandbox source, DiskLayer overlay, Sandbox.BranchGrip grip) {
    this.source = source;
    this.overlay = overlay;
    this.grip = grip;
  }

  /**
   * What it cost.
   *
   * @param frozen user processes are frozen in what was taken
   * @param pauseMillis from the stop to the resume, rounded up
   * @param freezeMillis to freeze user processes before that, rounded up
   */
  record Cost(boolean frozen, long pauseMillis, long freezeMillis) {}

  Cost run(StateTaking taking) {
    RunningVm vm = source.vm();
    boolean frozen = false;
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
      boolean resumed = false;
      try {
        resumed = taking.pause(vm, overlay, grip.running());
      } finally {
        if (grip.running() && !resumed) {
          vm.execute(new VmCommand.Resume());
        }
        pauseNanos = System.nanoTime() - begin;
      }
    } finally {
      if (grip.running()) {
        thaw();
      }
    }
    return new Cost(
        frozen, Math.ceilDiv(pauseNanos, 1_000_000), Math.ceilDiv(freezeNanos, 1_000_000));
  }

  /** Said at once and before anything that is said to the guest later; nobody waits for it. */
  private void thaw() {
    try {
      grip.agent().thawSoon(FREEZE_TIMEOUT, this::notThawed);
    } catch (ForkdException e) {
      notThawed(e);
    }
  }

  /** The guest is not answering at all; the next request to it says so with its own words. */
  private void notThawed(ForkdException why) {
    System.getLogger(PauseWindow.class.getName())
        .log(System.Logger.Level.WARNING, "thaw of {0}: {1}", source.id(), why.message());
  }
}
