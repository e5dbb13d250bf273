package dev.forkd.sandbox;

import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;

/**
 * Lets a VM run while there is work and pauses it when there is none. A hundred guests with nothing
 * to do cost nothing; to the caller they always look alive.
 *
 * <p>Work is an open {@link Pass}, or something of the user's that runs in the background, which
 * the guest agent reports.
 */
final class RunGate {
  /** A guest is paused this long after its last work: the next request often follows at once. */
  private static final Duration LINGER = Duration.ofMillis(10);

  private final RunningVm vm;
  private final boolean pausing;
  private final Optional<Admission> admission;
  private final ScheduledExecutorService clock;
  private final BooleanSupplier guestIdle;
  private final ReentrantLock lock = new ReentrantLock();
  private int open;
  private volatile boolean running;

  /** The right to have the VM run. */
  final class Pass implements AutoCloseable {
    private final Optional<Admission.Turn> turn;
    private boolean closed;

    private Pass(Optional<Admission.Turn> turn) {
      this.turn = turn;
    }

    @Override
    public void close() {
      lock.lock();
      try {
        if (closed) {
          return;
        }
        closed = true;
        open--;
      } finally {
        lock.unlock();
      }
      turn.ifPresent(Admission.Turn::close);
      pauseSoon();
    }
  }

  /**
   * @param running whether the vCPUs run now
   * @param pausing pause when idle
   * @param admission asked for a turn for every pass; empty where guests need none
   * @param guestIdle whether the guest agent says that nothing of the user's runs
   */
  RunGate(
      RunningVm vm,
      boolean running,
      boolean pausing,
      Optional<Admission> admission,
      ScheduledExecutorService clock,
      BooleanSupplier guestIdle) {
    this.vm = vm;
    this.running = running;
    this.pausing = pausing;
    this.admission = admission;
    this.clock = clock;
    this.guestIdle = guestIdle;
  }

  /**
   * Resumes the VM if it is paused.
   *
   * @param patience to wait for a turn
   * @param resumed runs after the VM was resumed, before anything else is asked of it
   */
  Pass enter(Duration patience, Runnable resumed) {
    Optional<Admission.Turn> turn = admission.map(a -> a.enter(patience));
    boolean entered = false;
    lock.lock();
    try {
      if (!running) {
        vm.execute(new VmCommand.Resume());
        running = true;
        resumed.run();
      }
      open++;
      entered = true;
      return new Pass(turn);
    } finally {
      lock.unlock();
      if (!entered) {
        turn.ifPresent(Admission.Turn::close);
      }
    }
  }

  /** Whether the vCPUs run now. */
  boolean running() {
    return running;
  }

  /** Something in the guest ended: it may be idle now. */
  void pauseSoon() {
    if (pausing && guestIdle.getAsBoolean()) {
      var _ =
          clock.schedule(
              () -> Thread.ofVirtual().name("idle-pause").start(this::pauseIfIdle),
              LINGER.toMillis(),
              TimeUnit.MILLISECONDS);
    }
  }

  private void pauseIfIdle() {
    lock.lock();
    try {
      if (running && open == 0 && guestIdle.getAsBoolean()) {
        vm.execute(new VmCommand.Pause());
        running = false;
      }
    } catch (dev.forkd.api.ForkdException e) {
      // The VM is gone; whoever watches its process says so to the user.
      running = false;
    } finally {
      lock.unlock();
    }
  }

  /** A branch's grip on the gate: nobody resumes or pauses the VM meanwhile. */
  final class Grip implements AutoCloseable {
    private final boolean wasRunning;

    private Grip(boolean wasRunning) {
      this.wasRunning = wasRunning;
    }

    boolean wasRunning() {
      return wasRunning;
    }

    /** Lets go; allowed only for the thread that took it. */
    @Override
    public void close() {
      lock.unlock();
    }
  }

  /** Keeps the VM in the state it is in until the grip is closed by the same thread. */
  Grip grip() {
    lock.lock();
    return new Grip(running);
  }
}
