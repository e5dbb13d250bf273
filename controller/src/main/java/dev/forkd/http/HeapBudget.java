package dev.forkd.http;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.Caller;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.HashMap;
import java.util.Map;

/**
 * How many bytes that others made may be held in memory at once: what guests write for all who wait
 * for a result, or what clients send, or let pile up. Both do as much as they like; without a
 * common limit a few would take the daemon's heap.
 */
public final class HeapBudget {
  /** So much of each share is not counted: small ones are had whatever others do. */
  static final long FREE_BYTES = 16 << 10;

  /** A byte of a result takes about four while it is collected, decoded and encoded. */
  private static final int RESULTS_HEAP_SHARE = 8;

  /** The same for a byte of a body, which is read, decoded, and decoded once more from base64. */
  private static final int BODIES_HEAP_SHARE = 16;

  private static final int OWNERS_SHARE = 4;

  /** The longest message, and what its parts take, must fit in however small the heap is. */
  private static final long OWNER_BYTES_MIN = 8 << 20;

  private static final String NOBODY = "";

  private final long maxBytes;
  private final long ownerMaxBytes;
  private final Map<String, Long> heldByOwner = new HashMap<>();
  private long heldBytes;

  /**
   * A budget.
   *
   * @param ownerMaxBytes for each owner; less than {@code maxBytes}, or one keeps all others out
   */
  public HeapBudget(long maxBytes, long ownerMaxBytes) {
    this.maxBytes = maxBytes;
    this.ownerMaxBytes = ownerMaxBytes;
  }

  /** What this JVM may hold of results. */
  public static HeapBudget forResults() {
    long bytes = Runtime.getRuntime().maxMemory() / RESULTS_HEAP_SHARE;
    return new HeapBudget(bytes, bytes);
  }

  /** What this JVM may hold of requests' bodies; no sandbox's may take more than a part of it. */
  static HeapBudget forBodies() {
    long bytes = Runtime.getRuntime().maxMemory() / BODIES_HEAP_SHARE;
    long each = Math.max(OWNER_BYTES_MIN, bytes / OWNERS_SHARE);
    return new HeapBudget(Math.max(each * 2, bytes), each);
  }

  /** What is held now, beyond what is free. */
  synchronized long heldBytes() {
    return heldBytes;
  }

  /** The same of one owner. */
  synchronized long heldBytes(String owner) {
    return heldByOwner.getOrDefault(owner, 0L);
  }

  private synchronized boolean claim(String owner, long bytes) {
    long owners = heldByOwner.getOrDefault(owner, 0L) + bytes;
    if (heldBytes + bytes > maxBytes || (!owner.equals(NOBODY) && owners > ownerMaxBytes)) {
      return false;
    }
    heldBytes += bytes;
    heldByOwner.put(owner, owners);
    return true;
  }

  private synchronized void giveBack(String owner, long bytes) {
    heldBytes -= bytes;
    // Whoever holds nothing is forgotten.
    heldByOwner.computeIfPresent(owner, (_, held) -> held == bytes ? null : held - bytes);
  }

  /** The client of a request, until the share is closed. */
  public Share share(Exchange exchange) {
    return new Share(
        NOBODY,
        action -> {
          Cut.Standing standing = exchange.onGone(action);
          return standing::close;
        });
  }

  /** For somebody who never goes away. */
  public Share share(String owner) {
    return new Share(owner, _ -> () -> {});
  }

  /** The same for nobody in particular, who has no limit but that of all. */
  Share share() {
    return share(NOBODY);
  }

  /** How a share learns that its client went away. */
  private interface Presence {
    Caller.Standing onGone(Runnable action);
  }

  /** One client's part. */
  public final class Share implements Caller, AutoCloseable {
    private final String owner;
    private final Presence presence;
    private long usedBytes;
    private long countedBytes;
    private boolean closed;

    private Share(String owner, Presence presence) {
      this.owner = owner;
      this.presence = presence;
    }

    @Override
    public Standing onGone(Runnable action) {
      return presence.onGone(action);
    }

    @Override
    public synchronized boolean mayHold(long bytes) {
      long counted = Math.max(0, usedBytes + bytes - FREE_BYTES) - countedBytes;
      if (closed || (counted > 0 && !claim(owner, counted))) {
        return false;
      }
      usedBytes += bytes;
      countedBytes += Math.max(0, counted);
      return true;
    }

    /**
     * Counts so many more bytes as held.
     *
     * @throws ForkdException RESOURCE_EXHAUSTED when there is no room for them
     */
    public void hold(long bytes) {
      if (!mayHold(bytes)) {
        throw new ForkdException(
            ErrorCode.RESOURCE_EXHAUSTED,
            "too much of other requests' bodies is held in memory; try again, or send less");
      }
    }

    /** What is read from {@code in}, with each byte held as it comes; see {@link #hold}. */
    public InputStream counted(InputStream in) {
      return new FilterInputStream(in) {
        @Override
        public int read() throws IOException {
          byte[] one = new byte[1];
          return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
        }

        @Override
        public int read(byte[] bytes, int from, int count) throws IOException {
          int got = super.read(bytes, from, count);
          if (got > 0) {
            hold(got);
          }
          return got;
        }
      };
    }

    /** Gives back what was held. A second time is harmless. */
    @Override
    public synchronized void close() {
      closed = true;
      giveBack(owner, countedBytes);
      countedBytes = 0;
    }
  }
}
