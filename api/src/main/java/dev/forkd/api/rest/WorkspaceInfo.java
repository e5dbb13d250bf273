package dev.forkd.api.rest;

import java.util.Optional;
import java.util.OptionalLong;

/**
 * A workspace: a named sandbox that can be suspended and resumed.
 *
 * @param id unchanged for its life
 * @param sourceSnapshotTag the snapshot it was created from
 * @param currentStateTag the snapshot it was last saved as, from which it is resumed
 * @param status {@code running}, {@code suspended}, or {@code stale}: its sandbox was lost
 * @param liveSandboxId its sandbox while it runs
 * @param lastActiveUnix when it was created, suspended or resumed last
 */
public record WorkspaceInfo(
    String id,
    String name,
    String sourceSnapshotTag,
    Optional<String> currentStateTag,
    String status,
    Optional<String> liveSandboxId,
    long createdAtUnix,
    long lastActiveUnix,
    Optional<String> lastBranchMemoryPath,
    OptionalLong memoryLimitMib) {
  public WorkspaceInfo {
    id = id == null ? "" : id;
    name = Wire.text(name, "name");
    sourceSnapshotTag = sourceSnapshotTag == null ? "" : sourceSnapshotTag;
    status = status == null ? "" : status;
  }
}
