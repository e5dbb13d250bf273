package dev.forkd.http;

import dev.forkd.api.Threads;
import java.io.IOException;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Ends writes that the client does not take: a client that stays but stops reading would hold its
 * request, and the sandbox that works for it, for ever. A write to a socket knows no time limit;
 * interrupting the virtual thread that sits in it closes the socket.
 */
final class WriteGuard implements AutoCloseable {
  /** What a client must take, beside its patience, so that a large answer may take its time. */
  private static final int BYTES_PER_SECOND_MIN = 256 << 10;

  private final long patienceNanos;
  private final Set<Write> underWay = ConcurrentHashMap.newKeySet();
  private final ScheduledExecutorService clock = Threads.clock("write-guard");

  /** Something that writes to the client. */
  @FunctionalInterface
  interface Body {
    void run() throws IOException;
  }

  private static final class Write {
    private final Thread thread = Thread.currentThread();
    private final long beginNanos = System.nanoTime();
    private final long limitNanos;
    private boolean over;
    private boolean ended;

    Write(long limitNanos) {
      this.limitNanos = limitNanos;
    }

    synchronized void check() {
      if (!over && !ended && System.nanoTime() - beginNanos > limitNanos) {
        ended = true;
        thread.interrupt();
      }
    }

    /** True when it was ended from outside. From here on the thread is not interrupted any more. */
    synchronized boolean finish() {
      over = true;
      return ended;
    }
  }

  /**
   * @param patience with a client that takes nothing
   */
  WriteGuard(Duration patience) {
    this.patienceNanos = patience.toNanos();
    long everyMillis = Math.clamp(patience.toMillis() / 4, 10, 1000);
    var _ =
        clock.scheduleWithFixedDelay(
            () -> underWay.forEach(Write::check), everyMillis, everyMillis, TimeUnit.MILLISECONDS);
  }

  /**
   * Runs a write of so many bytes on the calling thread, which must be a virtual one.
   *
   * @throws IOException also when the client did not take it in time
   */
  void run(int bytes, Body body) throws IOException {
    Write write =
        new Write(patienceNanos + TimeUnit.SECONDS.toNanos(1) * bytes / BYTES_PER_SECOND_MIN);
    underWay.add(write);
    boolean ended = false;
    try {
      body.run();
    } finally {
      underWay.remove(write);
      ended = write.finish();
      if (ended) {
        var _ = Thread.interrupted();
      }
    }
    if (ended) {
      throw new IOException("the client took its answer too late");
    }
  }

  @Override
  public void close() {
    clock.shutdownNow();
  }
}
