package dev.forkd.sandbox;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
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
 * the guest agent reports. Where guests share the cores by turns, {@link Admission} may park a
 * guest that has work: it is paused all the same until it is its time again.
 */
final class RunGate implements AutoCloseable {
  /** A guest is paused this long after its last work: the next request often follows at once. */
  private static final Duration LINGER = Duration.ofMillis(10);

  private final RunningVm vm;
  private final boolean pausing;
  private final Optional<Claim> claim;
  private final ScheduledExecutorService clock;
  private final BooleanSupplier guestIdle;
  private final Runnable resumed;
  private final ReentrantLock lock = new ReentrantLock();
  private int open;
  private volatile boolean running;

  /** Paused with work to do. */
  private volatile boolean parked;

  /** The right to have the VM run. */
  final class Pass implements AutoCloseable {
    private final Optional<Claim.Entry> entry;
    private boolean closed;

    private Pass(Optional<Claim.Entry> entry) {
      this.entry = entry;
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
      entry.ifPresent(e -> e.close(!guestIdle.getAsBoolean()));
      pauseSoon();
    }
  }

  /**
   * @param running whether the vCPUs run now
   * @param pausing pause when idle
   * @param admission asked for a turn for every pass; empty where guests need none
   * @param guestIdle whether the guest agent says that nothing of the user's runs
   * @param resumed runs after the VM was resumed, before anything else is asked of it
   */
  RunGate(
      RunningVm vm,
      boolean running,
      boolean pausing,
      Optional<Admission> admission,
      ScheduledExecutorService clock,
      BooleanSupplier guestIdle,
      Runnable resumed) {
    this.vm = vm;
    this.running = running;
    this.pausing = pausing;
    this.clock = clock;
    this.guestIdle = guestIdle;
    this.resumed = resumed;
    this.claim = admission.map(a -> a.claim(guest()));
  }

  private Claim.Guest guest() {
    return new Claim.Guest() {
      @Override
      public void settle() {
        RunGate.this.settle();
      }

      @Override
      public Optional<Duration> cpu() {
        return ProcessHandle.of(vm.process().pid())
            .flatMap(process -> process.info().totalCpuDuration());
      }
    };
  }

  /**
   * Waits for a turn and resumes the VM if it is paused.
   *
   * @param patience to wait for a turn
   */
  Pass enter(Duration patience) {
    Optional<Claim.Entry> entry = claim.map(c -> c.enter(patience));
    boolean entered = false;
    lock.lock();
    try {
      resume();
      open++;
      entered = true;
      return new Pass(entry);
    } finally {
      lock.unlock();
      if (!entered) {
        entry.ifPresent(e -> e.close(false));
      }
    }
  }

  private void resume() {
    parked = false;
    if (!running) {
      vm.execute(new VmCommand.Resume());
      running = true;
      resumed.run();
    }
  }

  private void pause() {
    try {
      vm.execute(new VmCommand.Pause());
    } catch (ForkdException e) {
      // The VM is gone; whoever watches its process says so to the user.
      parked = false;
    }
    running = false;
  }

  private boolean hasWork() {
    return open > 0 || !guestIdle.getAsBoolean();
  }

  /** Parks the guest, or lets it go on, as the scheduler has decided. */
  private void settle() {
    boolean park = claim.map(Claim::parked).orElse(false);
    lock.lock();
    try {
      if (park && running && claim.map(Claim::parked).orElse(false)) {
        parked = true;
        pause();
      } else if (!park && parked && hasWork()) {
        resume();
      }
    } catch (ForkdException e) {
      // As above: it cannot be resumed since it is gone.
      parked = false;
    } finally {
      lock.unlock();
    }
  }

  /** Keeps the guest from being parked, or no longer. */
  void steady(boolean on) {
    claim.ifPresent(c -> c.steady(on));
  }

  /** Whether the guest runs, or would if there were not too many. */
  boolean running() {
    return running || parked;
  }

  /** Whether its vCPUs run now. */
  boolean awake() {
    return running;
  }

  /** What runs in the guest has changed: it may be idle now. */
  void pauseSoon() {
    if (!pausing) {
      return;
    }
    boolean idle = guestIdle.getAsBoolean();
    claim.ifPresent(c -> c.background(!idle && running()));
    if (idle) {
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
      if (!hasWork()) {
        parked = false;
        if (running) {
          pause();
        }
      }
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

    /** It stands still, whatever it did before. */
    void stopped() {
      running = false;
    }

    /** Lets go; allowed only for the thread that took it. */
    @Override
    public void close() {
      lock.unlock();
      if (claim.map(Claim::parked).orElse(false)) {
        settle();
      }
    }
  }

  /**
   * Keeps the VM in the state it is in until the grip is closed by the same thread. A guest that is
   * parked runs meanwhile: who grips it must be able to stop its processes.
   */
  Grip grip() {
    lock.lock();
    boolean gripped = false;
    try {
      if (parked && hasWork()) {
        resume();
      }
      gripped = true;
      return new Grip(running);
    } finally {
      if (!gripped) {
        lock.unlock();
      }
    }
  }

  /** The sandbox is served no more: its guest gets no turns, and no core either. */
  void fail() {
    close();
    if (pausing) {
      Threads.virtual(
          "failed-pause",
          () -> {
            lock.lock();
            try {
              if (running) {
                pause();
              }
            } finally {
              lock.unlock();
            }
          });
    }
  }

  /** The VM is gone, or is let go: whoever waits for a turn is refused. */
  @Override
  public void close() {
    claim.ifPresent(Claim::close);
  }
}
