package dev.forkd.engine;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.WorkspaceName;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * A workspace as seen from outside at one moment.
 *
 * @param id unchanged for its life, whichever sandbox it has
 * @param source the snapshot it was created from
 * @param state the snapshot it was last saved as; resume starts from it, or from the source when
 *     there is none
 * @param liveSandbox its sandbox, while it runs
 * @param lastActiveUnix when it was created, suspended or resumed last
 * @param lastBranchMemoryPath of the last branch of its sandbox; of its state while it has none
 */
public record WorkspaceView(
    String id,
    WorkspaceName name,
    Tag source,
    Optional<Tag> state,
    Status status,
    Optional<SandboxId> liveSandbox,
    OptionalLong memoryLimitMib,
    long createdAtUnix,
    long lastActiveUnix,
    Optional<Path> lastBranchMemoryPath) {

  /** What can be done with it. */
  public enum Status {
    /** It has a sandbox; it can be suspended. */
    RUNNING,
    /** It is saved and has no sandbox; it can be resumed. */
    SUSPENDED,
    /** Its sandbox was killed or failed; it can be resumed from what it was last saved as. */
    STALE
  }
}
