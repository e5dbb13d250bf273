package dev.forkd.sandbox;

/**
 * What one exchange tells of a guest's clock: the guest was sent the host's time, set its clock to
 * that when it got it, and read it when it answered.
 *
 * @param offsetNanos guest clock minus host clock: the middle of what is possible
 * @param errorMaxNanos the most by which the two can differ
 */
record ClockReading(long offsetNanos, long errorMaxNanos) {
  /**
   * @param sent host time when it was sent, and what the guest was to set
   * @param guest what the guest read
   * @param received host time when the answer was there
   */
  static ClockReading of(long sent, long guest, long received) {
    // The reading was taken after it was sent and before it was received.
    long least = guest - received;
    long most = guest - sent;
    if (least <= 0 && most >= 0) {
      // A clock that was set to the past cannot be ahead; what it is behind, the message was late.
      most = 0;
    }
    return new ClockReading(least + (most - least) / 2, Math.max(Math.abs(least), Math.abs(most)));
  }
}
