package dev.forkd.engine;

import dev.forkd.api.Tag;
import java.util.Optional;

/**
 * How to branch.
 *
 * @param tag the new snapshot's tag; made up from the sandbox id when empty
 * @param parentTag make a link of a chain, which holds only its own pages and keeps its parent from
 *     being deleted; must be the sandbox's own snapshot, and needs {@link Mode#DIFF}
 * @param untilReady wait until the snapshot is durable; otherwise the answer comes when the source
 *     runs on, with the status WRITING, which becomes READY or FAILED
 */
public record BranchSpec(
    Optional<Tag> tag, Mode mode, Optional<Tag> parentTag, boolean untilReady) {
  /** One that is waited for. */
  public BranchSpec(Optional<Tag> tag, Mode mode, Optional<Tag> parentTag) {
    this(tag, mode, parentTag, true);
  }

  /** What is copied inside the pause window. */
  public enum Mode {
    /** All of guest memory. */
    FULL,
    /** Only the pages that diverged since the fork. */
    DIFF,
    /**
     * Only device state; memory is taken while the source runs on. Where the host offers no way to
     * do that it is taken as {@link #DIFF}, with a warning.
     */
    LIVE,
    /** All of guest memory, and a throw-away diff beside it to learn what it would have cost. */
    MEASURE_DIFF
  }
}
