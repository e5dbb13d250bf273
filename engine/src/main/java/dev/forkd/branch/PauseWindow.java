package dev.forkd.branch;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.guest.FreezeResult;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import java.time.Duration;
import java.util.concurrent.locks.LockSupport;

/**
 * The time a branch keeps its source from running. Just before it user processes are frozen inside
 * the guest, so that nothing of the user's runs in a child before its handshake; after it they
 * thaw. Always ends with the source as it was found.
 */
final class PauseWindow {
  private static final Duration FREEZE_TIMEOUT = Duration.ofSeconds(10);

  /** To resume or thaw; between two of them it waits, longer each time. */
  private static final int ATTEMPTS = 5;

  private static final Duration AGAIN = Duration.ofMillis(20);

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
      boolean resumed;
      try {
        resumed = taking.pause(vm, overlay, grip.running());
      } catch (RuntimeException e) {
        resumeAfter(e);
        throw e;
      }
      if (grip.running() && !resumed) {
        resume();
      }
      pauseNanos = System.nanoTime() - begin;
    } finally {
      if (grip.running()) {
        thaw();
      }
    }
    return new Cost(
        frozen, Math.ceilDiv(pauseNanos, 1_000_000), Math.ceilDiv(freezeNanos, 1_000_000));
  }

  /** What kept the branch from being taken is what is told. */
  private void resumeAfter(RuntimeException failure) {
    if (grip.running()) {
      try {
        resume();
      } catch (ForkdException e) {
        failure.addSuppressed(e);
      }
    }
  }

  /**
   * A source is not left standing for one command that was lost. A monitor that did not answer in
   * all its time is not asked again: whoever else wants the sandbox waits meanwhile.
   */
  private void resume() {
    for (int attempt = 1; ; attempt++) {
      try {
        source.vm().execute(new VmCommand.Resume());
        return;
      } catch (ForkdException e) {
        if (attempt == ATTEMPTS
            || e.code() == ErrorCode.DEADLINE_EXCEEDED
            || source.vm().exit().isDone()) {
          grip.stopped();
          throw new ForkdException(
              e.code(),
              "sandbox "
                  + source.id()
                  + " could not be resumed after its pause: "
                  + e.message()
                  + ". It stands still until the next request resumes it",
              e);
        }
        LockSupport.parkNanos(AGAIN.toNanos() * attempt);
      }
    }
  }

  /** Said at once and before anything that is said to the guest later; nobody waits for it. */
  private void thaw() {
    try {
      grip.agent().thawSoon(FREEZE_TIMEOUT, this::notThawed);
    } catch (ForkdException e) {
      Threads.virtual("thaw-" + source.id(), () -> notThawed(e));
    }
  }

  /** On a thread of its own. Nobody's processes stay stopped for one word that was lost. */
  private void notThawed(ForkdException why) {
    ForkdException last = why;
    for (int attempt = 1; attempt < ATTEMPTS && source.alive(); attempt++) {
      LockSupport.parkNanos(AGAIN.toNanos() * attempt);
      try {
        thawAgain();
        return;
      } catch (ForkdException e) {
        last = e;
      }
    }
    // The guest is not answering at all; the next request to it says so with its own words.
    System.getLogger(PauseWindow.class.getName())
        .log(System.Logger.Level.WARNING, "thaw of {0}: {1}", source.id(), last.message());
  }

  private void thawAgain() {
    try (Sandbox.Session session = source.enter()) {
      session.agent().thaw(FREEZE_TIMEOUT);
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.ABORTED) {
        throw e;
      }
      // Requests are kept out while a workspace is suspended, which may fail yet.
      grip.agent().thaw(FREEZE_TIMEOUT);
    }
  }
}
