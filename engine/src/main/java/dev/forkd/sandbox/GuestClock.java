package dev.forkd.sandbox;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.guest.GuestAgent;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/**
 * Sets the clock of a guest that stood still. The guest sets it to the time at which the message
 * was sent, so it is behind by what the message took. That is known to be short when the guest has
 * answered anything that was asked after it within {@link #ERROR_MAX}; when it has not, it is asked
 * for its time until that is known to be right. It is set again only where it is shown to be wrong:
 * each time takes a clock that is right back by what the message took, under running programs.
 */
final class GuestClock {
  /** Largest difference between host and guest clock that is taken for right. */
  static final Duration ERROR_MAX = Duration.ofMillis(50);

  /** Between two there is a pause, longer each time: who asks more often makes it no better. */
  private static final int ATTEMPTS = 6;

  private static final Duration PAUSE = Duration.ofMillis(50);
  private static final Duration TIMEOUT = Duration.ofSeconds(10);

  /** Between two warnings: on a host that is overloaded each step would bring one. */
  private static final Duration QUIET = Duration.ofMinutes(1);

  private final String id;
  private final GuestAgent agent;
  private final ClockProbe probe;
  private final ScheduledExecutorService timer;
  private final BooleanSupplier mayAnswer;
  private final AtomicBoolean measuring = new AtomicBoolean();
  private final AtomicInteger steps = new AtomicInteger();
  private volatile long quietUntilNanos = System.nanoTime();

  /**
   * @param mayAnswer whether the guest runs now and is to be served
   */
  GuestClock(
      String id, GuestAgent agent, ScheduledExecutorService timer, BooleanSupplier mayAnswer) {
    this.id = id;
    this.agent = agent;
    this.probe = new ClockProbe(agent);
    this.timer = timer;
    this.mayAnswer = mayAnswer;
  }

  /** Sets the clock before anything that is asked later, without waiting for it. */
  void step() {
    steps.incrementAndGet();
    agent.clock(Handshake.unixNanos());
    int asked = agent.lastAsked();
    try {
      var _ = timer.schedule(() -> check(asked), ERROR_MAX.toMillis(), TimeUnit.MILLISECONDS);
    } catch (RejectedExecutionException e) {
      // The engine is closing.
      return;
    }
  }

  /** On the timer's thread. */
  private void check(int asked) {
    if (agent.lastAnswered() <= asked
        && mayAnswer.getAsBoolean()
        && measuring.compareAndSet(false, true)) {
      Threads.virtual(
          "clock-" + id,
          () -> {
            try {
              readUntilRight();
            } catch (ForkdException e) {
              // It was paused, or has ended: the next step finds out.
              log(System.Logger.Level.DEBUG, e.message());
            } finally {
              measuring.set(false);
            }
          });
    }
  }

  /**
   * Reads the clock until it is known to be right, and sets it where it is known to be wrong. One
   * of which neither is known after several attempts is told in the log: the guest goes on with it.
   */
  private void readUntilRight() {
    boolean off = false;
    for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
      if (!mayAnswer.getAsBoolean()) {
        // It stands still, and is stepped when it goes on.
        return;
      }
      int before = steps.get();
      Optional<ClockReading> reading = off ? probe.set(TIMEOUT) : probe.read(TIMEOUT);
      if (reading.isEmpty() ? stepInTime() : reading.get().right()) {
        return;
      }
      // What was read around a pause tells nothing of the clock after it.
      off = steps.get() == before && reading.map(ClockReading::off).orElse(false);
      LockSupport.parkNanos(PAUSE.toNanos() * attempt);
    }
    if (System.nanoTime() - quietUntilNanos >= 0) {
      quietUntilNanos = System.nanoTime() + QUIET.toNanos();
      log(
          System.Logger.Level.WARNING,
          "it is not known to be right within "
              + ERROR_MAX.toMillis()
              + " ms; is the host overloaded?");
    }
  }

  /** All that can be done where the agent, of an older template, does not tell its time. */
  private boolean stepInTime() {
    long begin = System.nanoTime();
    agent.clock(Handshake.unixNanos());
    var _ = agent.status(TIMEOUT);
    return System.nanoTime() - begin <= ERROR_MAX.toNanos();
  }

  private void log(System.Logger.Level level, String what) {
    System.getLogger(GuestClock.class.getName()).log(level, "clock of {0}: {1}", id, what);
  }
}
