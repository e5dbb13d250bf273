package dev.forkd.hosted;

import dev.forkd.api.Threads;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.Optional;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Does for hosted sandboxes what is to be done later, each on a thread of its own. One thing at
 * most waits for each of them: the next one takes its place. Only the removal of one that somebody
 * wants gone waits besides.
 */
final class Alarms implements AutoCloseable {
  private static final System.Logger LOG = System.getLogger(Alarms.class.getName());

  /** After what could not be brought about. */
  private static final Duration RETRY = Duration.ofSeconds(10);

  private final InstantSource clock;
  private final ScheduledExecutorService scheduler = Threads.clock("hosted-ends");

  Alarms(InstantSource clock) {
    this.clock = clock;
  }

  void every(Duration interval, Runnable work) {
    var _ =
        scheduler.scheduleWithFixedDelay(
            () -> {
              var _ = Threads.virtual("hosted-usage", work);
            },
            interval.toMillis(),
            interval.toMillis(),
            TimeUnit.MILLISECONDS);
  }

  /** At its end, as far as the clock tells now. */
  void atEnd(Hosted hosted, Runnable work) {
    Instant end = hosted.end();
    // Rounded up: what comes a moment before the end would find that it has not come.
    replace(hosted, Math.max(0, Duration.between(clock.instant(), end).toMillis()) + 1, work);
  }

  /** What has failed, in a while. */
  void again(Hosted hosted, Runnable work) {
    replace(hosted, RETRY.toMillis(), work);
  }

  /** What could not be removed, in a while, whatever is done to it until then. */
  void removal(Hosted hosted, Runnable work) {
    later(hosted, RETRY.toMillis(), work).ifPresent(hosted::removal);
  }

  private void replace(Hosted hosted, long millis, Runnable work) {
    later(hosted, millis, work).ifPresent(next -> hosted.alarm(Optional.of(next)));
  }

  private Optional<Future<?>> later(Hosted hosted, long millis, Runnable work) {
    try {
      return Optional.of(
          scheduler.schedule(
              () -> {
                var _ = Threads.virtual("end-" + hosted.id(), work);
              },
              millis,
              TimeUnit.MILLISECONDS));
    } catch (RejectedExecutionException e) {
      // We are closed: the next process sees to it.
      LOG.log(System.Logger.Level.DEBUG, "no alarm for {0}: {1}", hosted.id(), e.getMessage());
      return Optional.empty();
    }
  }

  @Override
  public void close() {
    scheduler.shutdownNow();
  }
}
