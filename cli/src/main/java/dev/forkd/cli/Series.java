package dev.forkd.cli;

import java.util.Arrays;
import java.util.Locale;

/** Measurements of one thing in milliseconds. */
record Series(double[] millis) {
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

  double least() {
    return millis[0];
  }

  double most() {
    return millis[millis.length - 1];
  }

  static String show(double value) {
    return String.format(Locale.ROOT, value < 10 ? "%.1f ms" : "%.0f ms", value);
  }
}
