package dev.forkd.sandbox;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import java.time.Duration;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Lets about one busy emulated guest run per core; the others wait in order. Without it a hundred
 * guests that all begin at once livelock each other with timer ticks.
 *
 * <p>A turn lasts at most {@link #TURN}: what takes longer goes on without one, so that a few long
 * commands cannot keep everybody else out.
 */
public final class Admission implements AutoCloseable {
  private static final Duration TURN = Duration.ofSeconds(1);

  private final Semaphore turns;
  private final ScheduledExecutorService clock = Threads.clock("admission");

  /** One turn; closing it early lets the next one in. */
  public static final class Turn implements AutoCloseable {
    private final Runnable end;
    private final AtomicBoolean over = new AtomicBoolean();

    private Turn(Runnable end) {
      this.end = end;
    }

    @Override
    public void close() {
      if (over.compareAndSet(false, true)) {
        end.run();
      }
    }
  }

  /**
   * @param atOnce guests that may be busy at once
   */
  public Admission(int atOnce) {
    this.turns = new Semaphore(atOnce, true);
  }

  /**
   * Waits for a turn.
   *
   * @throws ForkdException RESOURCE_EXHAUSTED when it did not come within {@code patience}
   */
  public Turn enter(Duration patience) {
    try {
      if (!turns.tryAcquire(patience.toMillis(), TimeUnit.MILLISECONDS)) {
        throw new ForkdException(
            ErrorCode.RESOURCE_EXHAUSTED,
            "no core was free for this sandbox within "
                + patience.toMillis()
                + " ms; try again later or run fewer at once");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while waiting for a core", e);
    }
    Turn turn = new Turn(turns::release);
    var expiry = clock.schedule(turn::close, TURN.toMillis(), TimeUnit.MILLISECONDS);
    return new Turn(() -> {
      expiry.cancel(false);
      turn.close();
    });
  }

  @Override
  public void close() {
    clock.shutdownNow();
  }
}
