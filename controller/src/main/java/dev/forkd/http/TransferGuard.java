package dev.forkd.http;

import dev.forkd.api.Threads;
import java.io.IOException;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Ends reads and writes in which the client does nothing: one that stays but stops would hold its
 * request, and the sandbox that works for it, for ever. Those whose request is {@link Cut} end at
 * once. The server's channels know no time limit; interrupting the virtual thread that sits in one
 * closes it.
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

    void check() {
      if (System.nanoTime() - beginNanos > limitNanos) {
        end();
      }
    }

    synchronized void end() {
      if (!over && !ended) {
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
   * @param cut ends it with the connection
   * @throws CutOffException when it was cut, whatever has become of the transfer
   * @throws IOException also when the client did not do its part in time
   */
  void run(int bytes, Cut cut, Body body) throws IOException {
    cut.check();
    try {
      guarded(bytes, Optional.of(cut), body);
    } catch (IOException | RuntimeException e) {
      cut.check();
      throw e;
    }
  }

  /** The same for what is neither long nor in the way of anybody who cuts. */
  void run(int bytes, Body body) throws IOException {
    guarded(bytes, Optional.empty(), body);
  }

  private void guarded(int bytes, Optional<Cut> cut, Body body) throws IOException {
    Transfer transfer =
        new Transfer(patienceNanos + TimeUnit.SECONDS.toNanos(1) * bytes / BYTES_PER_SECOND_MIN);
    underWay.add(transfer);
    boolean ended = false;
    Cut.Standing standing = cut.map(one -> one.on(transfer::end)).orElse(() -> {});
    try {
      body.run();
    } finally {
      standing.close();
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
