package dev.forkd.sdk;

import dev.forkd.api.rest.BranchRequest;
import java.util.Optional;

/**
 * How to branch. Immutable; each method gives a changed copy.
 *
 * @param tag of the new snapshot; the daemon makes one up when empty
 * @param recordParent makes the source's snapshot the new one's parent, which then cannot be
 *     deleted before it; needs {@link Mode#DIFF} or {@link Mode#LIVE}
 * @param untilReady wait until the snapshot is durable; without that, which needs {@link
 *     Mode#LIVE}, the answer comes when the source runs on, and the snapshot has the status {@code
 *     writing}
 */
public record BranchOptions(
    Optional<String> tag, Mode mode, boolean recordParent, boolean untilReady) {
  /** What is copied while the source stands still. */
  public enum Mode {
    /** All of its memory. */
    FULL,
    /** Only what diverged since it was forked. */
    DIFF,
    /** Nothing but device state: memory is copied while the source runs on. */
    LIVE,
    /** All of it, and what diverged is timed beside. */
    MEASURE_DIFF
  }

  /** A diff branch with a tag of the daemon's choice. */
  public static BranchOptions diff() {
    return new BranchOptions(Optional.empty(), Mode.DIFF, false, true);
  }

  /** A full branch with a tag of the daemon's choice. */
  public static BranchOptions full() {
    return new BranchOptions(Optional.empty(), Mode.FULL, false, true);
  }

  /** A full branch that also measures what a diff would have cost. */
  public static BranchOptions measureDiff() {
    return new BranchOptions(Optional.empty(), Mode.MEASURE_DIFF, false, true);
  }

  /** A live branch with a tag of the daemon's choice. */
  public static BranchOptions live() {
    return new BranchOptions(Optional.empty(), Mode.LIVE, false, true);
  }

  /** Does not wait until the snapshot is durable. */
  public BranchOptions noWait() {
    return new BranchOptions(tag, mode, recordParent, false);
  }

  public BranchOptions tag(String name) {
    return new BranchOptions(Optional.of(name), mode, recordParent, untilReady);
  }

  public BranchOptions withParent() {
    return new BranchOptions(tag, mode, true, untilReady);
  }

  BranchRequest wire(String sourceTag) {
    return new BranchRequest(
        tag,
        mode == Mode.MEASURE_DIFF,
        mode == Mode.DIFF,
        mode == Mode.LIVE,
        Optional.empty(),
        untilReady ? Optional.empty() : Optional.of(false),
        recordParent ? Optional.of(sourceTag) : Optional.empty());
  }
}
