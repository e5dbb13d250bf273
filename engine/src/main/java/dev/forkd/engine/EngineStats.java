package dev.forkd.engine;

import java.time.Duration;
import java.util.List;

/** Counts at one moment. */
public record EngineStats(
    int snapshots,
    int sandboxes,
    int branchesInFlight,
    int branchConcurrencyCap,
    Admission admission,
    Pool pool) {

  /**
   * How the guests share the cores. All 0 where guests need no turns, which is with KVM.
   *
   * @param waiting requests that wait for a core
   * @param queueMax most requests that may wait
   * @param turns guests that have a turn
   * @param overtime guests that run on beyond their turn
   * @param parked guests with work that are kept paused, since too many would run
   * @param rejected requests refused because too many waited
   * @param expired requests whose time passed while they waited
   * @param waits how long those that were let in had waited
   */
  public record Admission(
      int waiting,
      int queueMax,
      int turns,
      int overtime,
      int parked,
      long rejected,
      long expired,
      Histogram waits) {
    public static final Admission NONE =
        new Admission(0, 0, 0, 0, 0, 0, 0, new Histogram(List.of(), 0, Duration.ZERO));
  }

  /**
   * Children that are forked ahead.
   *
   * @param ready those that wait
   * @param starting those that are being made
   * @param hits children that were handed out from a pool
   * @param misses children that were asked of a pool which had none left
   */
  public record Pool(int ready, int starting, long hits, long misses) {
    public static final Pool NONE = new Pool(0, 0, 0, 0);
  }

  /** Durations counted: how many in all, and how many up to each bound. */
  public record Histogram(List<Bucket> buckets, long count, Duration sum) {
    public Histogram {
      buckets = List.copyOf(buckets);
    }
  }

  /**
   * @param count how many took {@code upTo} or less
   */
  public record Bucket(Duration upTo, long count) {}
}
