package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.PoolInfo;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.Snapshot;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/** Measures forks out of a pool; leaves the pool as it was. */
record PoolBench(Forkd forkd, String tag, String code) {
  private static final String COLD = "fork to first eval, from a pool";
  private static final String WARM = "fork to first eval, from a prewarmed pool";
  private static final Duration EVAL_TIMEOUT = Duration.ofSeconds(30);
  private static final Duration FILL_TIMEOUT = Duration.ofMinutes(10);
  private static final Duration LOOK_INTERVAL = Duration.ofMillis(100);

  /** Adds both series, and gives a fan-out from a pool that is full. */
  Optional<FanOut> measure(int rounds, int fanOut, Map<String, double[]> all) {
    Snapshot snapshot = forkd.snapshot(tag);
    PoolInfo before = snapshot.pool();
    try {
      all.put(COLD, series(snapshot, rounds, false));
      all.put(WARM, series(snapshot, rounds, true));
      if (fanOut == 0) {
        return Optional.empty();
      }
      fill(snapshot, fanOut, true);
      return Optional.of(FanOut.measure(forkd, tag, fanOut, code));
    } finally {
      var _ = snapshot.setPool(before.size(), before.prewarm());
    }
  }

  private double[] series(Snapshot snapshot, int rounds, boolean prewarm) {
    fill(snapshot, rounds, prewarm);
    double[] millis = new double[rounds];
    for (int round = 0; round < rounds; round++) {
      long begin = System.nanoTime();
      try (Sandbox child = forkd.fork(tag)) {
        var _ = child.eval(code, EVAL_TIMEOUT);
        millis[round] = (System.nanoTime() - begin) / 1e6;
      }
    }
    return millis;
  }

  private static void fill(Snapshot snapshot, int size, boolean prewarm) {
    PoolInfo pool = snapshot.setPool(size, prewarm);
    long end = System.nanoTime() + FILL_TIMEOUT.toNanos();
    try {
      while (pool.ready() < size) {
        if (System.nanoTime() > end) {
          throw new ForkdException(
              ErrorCode.DEADLINE_EXCEEDED,
              "only " + pool.ready() + " of " + size + " children are in the pool");
        }
        Thread.sleep(LOOK_INTERVAL);
        pool = snapshot.pool();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
