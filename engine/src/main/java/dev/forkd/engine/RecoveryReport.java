package dev.forkd.engine;

import java.util.List;
import java.util.stream.Stream;

/**
 * What the engine found when it took over a data directory.
 *
 * @param adopted sandboxes that were alive and provably ours
 * @param settled operations that were half done: finished or undone; sandboxes that could not be
 *     adopted and are kept as failed
 * @param reaped things without an owner that were removed
 */
public record RecoveryReport(List<String> adopted, List<String> settled, List<String> reaped) {
  public RecoveryReport {
    adopted = List.copyOf(adopted);
    settled = List.copyOf(settled);
    reaped = List.copyOf(reaped);
  }

  /** This report, with more that was settled. */
  public RecoveryReport andSettled(List<String> more) {
    return new RecoveryReport(
        adopted, Stream.concat(settled.stream(), more.stream()).toList(), reaped);
  }

  public static RecoveryReport empty() {
    return new RecoveryReport(List.of(), List.of(), List.of());
  }
}
