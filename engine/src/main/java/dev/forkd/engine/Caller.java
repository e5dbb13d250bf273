package dev.forkd.engine;

/**
 * Whoever waits for a result: may lose interest before it is there, and can take only so much of
 * it.
 */
public interface Caller {
  /** Waits for as long as it takes and takes all there is. */
  Caller PATIENT =
      new Caller() {
        @Override
        public Standing onGone(Runnable action) {
          return () -> {};
        }

        @Override
        public boolean mayHold(long bytes) {
          return true;
        }
      };

  /**
   * Runs {@code action}, which must not block, once when nobody waits for the result any more; at
   * once if that is so already.
   *
   * @return ends the interest
   */
  Standing onGone(Runnable action);

  /**
   * Asks whether so many more bytes of a result may be held in memory for this caller, and counts
   * them if so.
   */
  boolean mayHold(long bytes);

  /** An interest in the caller's going. */
  interface Standing extends AutoCloseable {
    @Override
    void close();
  }
}
