package dev.forkd.sandbox;

/**
 * What one exchange tells of a guest's clock: the guest read it after the host had sent its
 * question (and, where it was to set the clock, the time to set) and before the host had the
 * answer.
 *
 * @param offsetNanos guest clock minus host clock: the middle of what is possible
 * @param errorMaxNanos the most by which the two can differ
 */
record ClockReading(long offsetNanos, long errorMaxNanos) {
  /** Nearer than this a clock is not called wrong: to set it may take it further away. */
  private static final long OFF_NANOS = 5_000_000;

  /**
   * @param sent host time when it was asked, or was sent that time to set
   * @param guest what the guest read
   * @param received host time when the answer was there
   */
  static ClockReading of(long sent, long guest, long received) {
    long least = guest - received;
    long most = guest - sent;
    if (least <= 0 && most >= 0) {
      // A clock that is only ever set to the past is not ahead: the question was late.
      most = 0;
    }
    return new ClockReading(least + (most - least) / 2, Math.max(Math.abs(least), Math.abs(most)));
  }

  /** Whether it is shown to be as near as a clock has to be. */
  boolean right() {
    return errorMaxNanos <= GuestClock.ERROR_MAX.toNanos();
  }

  /** Whether it is shown to be wrong. What is neither right nor off was read too slowly. */
  boolean off() {
    // The middle is half of what is possible away from either end, and the far one is the most.
    return 2 * Math.abs(offsetNanos) - errorMaxNanos > OFF_NANOS;
  }
}
