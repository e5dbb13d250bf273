package dev.forkd.http;

import dev.forkd.api.Threads;
import java.io.IOException;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Ends reads and writes in which the client does nothing: one that stays but stops would hold its
 * request, and the sandbox that works for it, for ever. The server's channels know no time limit;
 * interrupting the virtual thread that sits in one closes it.
 */
final class TransferGuard implements AutoCloseable {
  /** A large answer may take its time, if it is not longer than this. */
  private static final int BYTES_PER_SECOND_MIN = 256 << 10;

  private final long patienceNanos;
  private final Set<Transfer> underWay = ConcurrentHashMap.newKeySet();
  private final ScheduledExecutorService clock = Threads.clock("transfer-guard");

  /** Something that transfers to the client. */
  @FunctionalInterface
  interface Body {
    void run() throws IOException;
  }

  private static final class Transfer {
    private final Thread thread = Thread.currentThread();
    private final long beginNanos = System.nanoTime();
    private final long limitNanos;
    private boolean over;
    private boolean ended;

    Transfer(long limitNanos) {
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
   * @param patience with a client that does nothing
   */
  TransferGuard(Duration patience) {
    this.patienceNanos = patience.toNanos();
    long everyMillis = Math.clamp(patience.toMillis() / 4, 10, 1000);
    var _ =
        clock.scheduleWithFixedDelay(
            () -> underWay.forEach(Transfer::check),
            everyMillis,
            everyMillis,
            TimeUnit.MILLISECONDS);
  }

  /**
   * Runs a transfer on the calling thread, which must be a virtual one.
   *
   * @param bytes how many the client must take; 0 for a read
   * @throws IOException also when the client did not do its part in time
   */
  void run(int bytes, Body body) throws IOException {
    Transfer transfer =
        new Transfer(patienceNanos + TimeUnit.SECONDS.toNanos(1) * bytes / BYTES_PER_SECOND_MIN);
    underWay.add(transfer);
    boolean ended = false;
    try {
      body.run();
    } finally {
      underWay.remove(transfer);
      ended = transfer.finish();
      if (ended) {
        var _ = Thread.interrupted();
      }
    }
    if (ended) {
      throw new IOException("the client did nothing for too long");
    }
  }

  @Override
  public void close() {
    clock.shutdownNow();
  }
}
