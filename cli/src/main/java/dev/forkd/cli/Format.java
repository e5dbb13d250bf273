package dev.forkd.cli;

import java.time.Duration;
import java.util.Locale;

/** Sizes and times as people read them. */
final class Format {
  private static final String[] UNITS = {"B", "KiB", "MiB", "GiB", "TiB"};

  private Format() {}

  /** {@code 0 B}, {@code 12.5 MiB}, {@code 3 GiB}. */
  static String bytes(long bytes) {
    double value = bytes;
    int unit = 0;
    while (value >= 1024 && unit < UNITS.length - 1) {
      value /= 1024;
      unit++;
    }
    boolean whole = unit == 0 || value >= 100 || value == Math.rint(value);
    return String.format(Locale.ROOT, whole ? "%.0f %s" : "%.1f %s", value, UNITS[unit]);
  }

  /** {@code 850 ms}, {@code 2.35 s}, {@code 3 min 5 s}. */
  static String duration(Duration duration) {
    long millis = duration.toMillis();
    if (millis < 1000) {
      return millis + " ms";
    }
    if (millis < 60_000) {
      return String.format(Locale.ROOT, "%.2f s", millis / 1000.0);
    }
    return millis / 60_000 + " min " + millis % 60_000 / 1000 + " s";
  }

  /**
   * Time since a moment in unix seconds, coarse: {@code 5s}, {@code 3m}, {@code 4h}, {@code 2d}.
   */
  static String age(long thenUnix, long nowUnix) {
    long seconds = Math.max(0, nowUnix - thenUnix);
    if (seconds < 120) {
      return seconds + "s";
    }
    if (seconds < 7200) {
      return seconds / 60 + "m";
    }
    return seconds < 172_800 ? seconds / 3600 + "h" : seconds / 86_400 + "d";
  }
}
