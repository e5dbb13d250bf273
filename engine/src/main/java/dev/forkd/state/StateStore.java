package dev.forkd.state;

import java.util.function.Function;

/**
 * The durable state of one data directory. Each call of its own is one transaction; what it wrote
 * is on disk when it returns, or, where it is about a sandbox only, as {@link #untilHostStops} has
 * it. Any thread may call; concurrent writers share one flush of the disk, so a thousand threads
 * that insert one row each cost a few flushes.
 */
public interface StateStore extends Tx, AutoCloseable {

  /**
   * Runs {@code work} as one transaction: all of it is stored, or, when it throws, nothing. It runs
   * on the store's own thread: it must be short, must not wait for anything, and must use the given
   * {@link Tx} only, never the store itself.
   */
  <T> T inTransaction(Function<Tx, T> work);

  /**
   * As {@link #inTransaction}, for what means nothing once the host has stopped, such as its
   * processes: what it wrote outlives this process when it returns, but the host's end only when
   * something durable was written later. It saves a flush of the disk, about a millisecond.
   */
  <T> T untilHostStops(Function<Tx, T> work);

  /** Ends after what was begun; idempotent. Calls after it are UNAVAILABLE. */
  @Override
  void close();
}
