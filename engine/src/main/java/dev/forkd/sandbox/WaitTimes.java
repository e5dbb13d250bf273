package dev.forkd.sandbox;

import dev.forkd.engine.EngineStats;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** How long requests waited for a core, counted in buckets. Guarded by its user's lock. */
final class WaitTimes {
  private static final long[] BOUNDS_MILLIS = {
    1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000
  };

  private final long[] counts = new long[BOUNDS_MILLIS.length + 1];
  private Duration sum = Duration.ZERO;

  void record(Duration waited) {
    int bucket = 0;
    while (bucket < BOUNDS_MILLIS.length
        && waited.compareTo(Duration.ofMillis(BOUNDS_MILLIS[bucket])) > 0) {
      bucket++;
    }
    counts[bucket]++;
    sum = sum.plus(waited);
  }

  EngineStats.Histogram histogram() {
    List<EngineStats.Bucket> buckets = new ArrayList<>();
    long total = 0;
    for (int i = 0; i < BOUNDS_MILLIS.length; i++) {
      total += counts[i];
      buckets.add(new EngineStats.Bucket(Duration.ofMillis(BOUNDS_MILLIS[i]), total));
    }
    return new EngineStats.Histogram(buckets, total + counts[BOUNDS_MILLIS.length], sum);
  }
}
