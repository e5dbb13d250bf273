package dev.forkd.http.rest;

import dev.forkd.engine.Caller;
import dev.forkd.http.Cut;
import dev.forkd.http.Exchange;
import java.util.concurrent.atomic.AtomicLong;

/**
 * How many bytes of results may be held in memory at once for all who wait for one. A guest writes
 * as much as it likes; without a common limit a few that write a lot would take the daemon's heap.
 */
final class ResultBudget {
  /** So much of each result is not counted: small ones are had whatever others do. */
  static final long FREE_BYTES = 16 << 10;

  /** A byte of a result takes about four while it is collected, decoded and encoded. */
  private static final int HEAP_SHARE = 8;

  private final long maxBytes;
  private final AtomicLong heldBytes = new AtomicLong();

  ResultBudget(long maxBytes) {
    this.maxBytes = maxBytes;
  }

  /** A share of this JVM's heap. */
  static ResultBudget ofHeap() {
    return new ResultBudget(Runtime.getRuntime().maxMemory() / HEAP_SHARE);
  }

  /** What is held now, beyond what is free. */
  long heldBytes() {
    return heldBytes.get();
  }

  /** The client of a request, until the share is closed. */
  Share share(Exchange exchange) {
    return new Share(action -> {
      Cut.Standing standing = exchange.onGone(action);
      return standing::close;
    });
  }

  /** For tests: whoever waits here never goes away. */
  Share share() {
    return new Share(_ -> () -> {});
  }

  /** How a share learns that its client went away. */
  private interface Presence {
    Caller.Standing onGone(Runnable action);
  }

  /** One client's part. */
  final class Share implements Caller, AutoCloseable {
    private final Presence presence;
    private long usedBytes;
    private long countedBytes;
    private boolean closed;

    private Share(Presence presence) {
      this.presence = presence;
    }

    @Override
    public Standing onGone(Runnable action) {
      return presence.onGone(action);
    }

    @Override
    public synchronized boolean mayHold(long bytes) {
      long counted = Math.max(0, usedBytes + bytes - FREE_BYTES) - countedBytes;
      if (closed || (counted > 0 && !claim(counted))) {
        return false;
      }
      usedBytes += bytes;
      countedBytes += Math.max(0, counted);
      return true;
    }

    private boolean claim(long bytes) {
      while (true) {
        long held = heldBytes.get();
        if (held + bytes > maxBytes) {
          return false;
        }
        if (heldBytes.compareAndSet(held, held + bytes)) {
          return true;
        }
      }
    }

    /** Gives back what was held. A second time is harmless. */
    @Override
    public synchronized void close() {
      closed = true;
      heldBytes.addAndGet(-countedBytes);
      countedBytes = 0;
    }
  }
}
