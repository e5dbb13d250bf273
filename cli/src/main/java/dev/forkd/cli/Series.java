package dev.forkd.cli;

import java.util.Arrays;
import java.util.Locale;

/** Measurements of one thing in milliseconds. */
record Series(double[] millis) {
  private static final double SECONDS_FROM_MILLIS = 10_000;

  Series {
    if (millis.length == 0) {
      throw new IllegalArgumentException("no measurement");
    }
    millis = millis.clone();
    Arrays.sort(millis);
  }

  /** The middle one; of an even number the mean of the two in the middle. */
  double median() {
    int middle = millis.length / 2;
    return millis.length % 2 == 1 ? millis[middle] : (millis[middle - 1] + millis[middle]) / 2;
  }

  /** The smallest measurement that nine of ten do not exceed. */
  double p90() {
    return millis[(int) Math.ceil(millis.length * 0.9) - 1];
  }

  double least() {
    return millis[0];
  }

  double most() {
    return millis[millis.length - 1];
  }

  /** {@code 8.4 ms}, {@code 155 ms}, {@code 12.3 s}. */
  static String show(double value) {
    if (value >= SECONDS_FROM_MILLIS) {
      return String.format(Locale.ROOT, "%.1f s", value / 1000);
    }
    return String.format(Locale.ROOT, value < 10 ? "%.1f ms" : "%.0f ms", value);
  }
}
