package dev.forkd.sdk;

import dev.forkd.api.rest.BranchRequest;
import java.util.Optional;

/**
 * How to branch. Immutable; each method gives a changed copy.
 *
 * @param tag of the new snapshot; the daemon makes one up when empty
 * @param recordParent makes the source's snapshot the new one's parent, which then cannot be
 *     deleted before it; needs {@link Mode#DIFF}
 */
public record BranchOptions(Optional<String> tag, Mode mode, boolean recordParent) {
  /** What is copied while the source stands still. */
  public enum Mode {
    /** All of its memory. */
    FULL,
    /** Only what diverged since it was forked. */
    DIFF,
    /** All of it, and what diverged is timed beside. */
    MEASURE_DIFF
  }

  /** A diff branch with a tag of the daemon's choice. */
  public static BranchOptions diff() {
    return new BranchOptions(Optional.empty(), Mode.DIFF, false);
  }

  /** A full branch with a tag of the daemon's choice. */
  public static BranchOptions full() {
    return new BranchOptions(Optional.empty(), Mode.FULL, false);
  }

  /** A full branch that also measures what a diff would have cost. */
  public static BranchOptions measureDiff() {
    return new BranchOptions(Optional.empty(), Mode.MEASURE_DIFF, false);
  }

  public BranchOptions tag(String name) {
    return new BranchOptions(Optional.of(name), mode, recordParent);
  }

  public BranchOptions withParent() {
    return new BranchOptions(tag, mode, true);
  }

  BranchRequest wire(String sourceTag) {
    return new BranchRequest(
        tag,
        mode == Mode.MEASURE_DIFF,
        mode == Mode.DIFF,
        false,
        Optional.empty(),
        Optional.empty(),
        recordParent ? Optional.of(sourceTag) : Optional.empty());
  }
}
