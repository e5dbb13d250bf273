package dev.forkd.state;

import java.util.Optional;

/**
 * A stored workspace, and the ways it changes: each changed copy is written before the deed it
 * announces, or after the one it records.
 *
 * @param sourceTag the snapshot it was created from
 * @param sandboxId its sandbox; may be lost, and then stays here until the next one lives
 * @param nextSandboxId the sandbox being made, in CREATING and RESUMING
 * @param stateTag the snapshot it was last saved as
 * @param stagedTag what it is being saved as, in SUSPENDING
 * @param retiredTag the state that {@code stateTag} has replaced, in SETTLING
 * @param generation how often saving it was begun; no tag is used twice
 */
public record WorkspaceRow(
    String name,
    String id,
    WorkspaceState state,
    String sourceTag,
    Optional<String> sandboxId,
    Optional<String> nextSandboxId,
    Optional<String> stateTag,
    Optional<String> stagedTag,
    Optional<String> retiredTag,
    long generation,
    Optional<Integer> memoryLimitMib,
    long createdUnixMillis,
    long activeUnixMillis) {

  private static final int ID_CHARS_OF_SANDBOX = 16;

  /** A new one whose first sandbox is about to be made. */
  public static WorkspaceRow creating(
      String name,
      String sourceTag,
      String firstSandboxId,
      Optional<Integer> memoryLimitMib,
      long nowUnixMillis) {
    return new WorkspaceRow(
        name,
        "ws-" + firstSandboxId.substring(0, Math.min(ID_CHARS_OF_SANDBOX, firstSandboxId.length())),
        WorkspaceState.CREATING,
        sourceTag,
        Optional.empty(),
        Optional.of(firstSandboxId),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        0,
        memoryLimitMib,
        nowUnixMillis,
        nowUnixMillis);
  }

  /** The sandbox that was being made lives. */
  public WorkspaceRow started(long nowUnixMillis) {
    return with(
            WorkspaceState.RUNNING,
            nextSandboxId,
            Optional.empty(),
            stateTag,
            Optional.empty(),
            Optional.empty())
        .with(generation, nowUnixMillis);
  }

  /** Its sandbox is about to be saved, or its state to be replaced by what comes of booting it. */
  public WorkspaceRow suspending(String newStagedTag, long newGeneration) {
    return with(
            WorkspaceState.SUSPENDING,
            sandboxId,
            Optional.empty(),
            stateTag,
            Optional.of(newStagedTag),
            Optional.empty())
        .with(newGeneration, activeUnixMillis);
  }

  /** That failed: it is as before. */
  public WorkspaceRow notSuspended() {
    return with(
        sandboxId.isPresent() ? WorkspaceState.RUNNING : WorkspaceState.SUSPENDED,
        sandboxId,
        Optional.empty(),
        stateTag,
        Optional.empty(),
        Optional.empty());
  }

  /** What was staged is durable and is its state from now on. */
  public WorkspaceRow saved(long nowUnixMillis) {
    return with(
            WorkspaceState.SETTLING,
            sandboxId,
            Optional.empty(),
            stagedTag,
            Optional.empty(),
            stateTag)
        .with(generation, nowUnixMillis);
  }

  /** Its sandbox is about to be ended; it keeps the state that it has. */
  public WorkspaceRow discarding() {
    return with(
        WorkspaceState.SETTLING,
        sandboxId,
        Optional.empty(),
        stateTag,
        Optional.empty(),
        Optional.empty());
  }

  /** What its new state has replaced is gone. */
  public WorkspaceRow settled() {
    return with(
        WorkspaceState.SUSPENDED,
        Optional.empty(),
        Optional.empty(),
        stateTag,
        Optional.empty(),
        Optional.empty());
  }

  /** Another sandbox is about to be made for it. */
  public WorkspaceRow resuming(String newSandboxId) {
    return with(
        WorkspaceState.RESUMING,
        sandboxId,
        Optional.of(newSandboxId),
        stateTag,
        Optional.empty(),
        Optional.empty());
  }

  /** That failed: it is as before. */
  public WorkspaceRow notResumed() {
    return with(
        sandboxId.isPresent() ? WorkspaceState.RUNNING : WorkspaceState.SUSPENDED,
        sandboxId,
        Optional.empty(),
        stateTag,
        Optional.empty(),
        Optional.empty());
  }

  /** It and all it has are about to be removed. */
  public WorkspaceRow deleting() {
    return with(WorkspaceState.DELETING, sandboxId, nextSandboxId, stateTag, stagedTag, retiredTag);
  }

  /** Its saved state is about to be deleted by somebody who knows. */
  public WorkspaceRow withoutState() {
    return with(
        state, sandboxId, nextSandboxId, Optional.empty(), Optional.empty(), Optional.empty());
  }

  private WorkspaceRow with(
      WorkspaceState newState,
      Optional<String> newSandboxId,
      Optional<String> newNextSandboxId,
      Optional<String> newStateTag,
      Optional<String> newStagedTag,
      Optional<String> newRetiredTag) {
    return new WorkspaceRow(
        name,
        id,
        newState,
        sourceTag,
        newSandboxId,
        newNextSandboxId,
        newStateTag,
        newStagedTag,
        newRetiredTag,
        generation,
        memoryLimitMib,
        createdUnixMillis,
        activeUnixMillis);
  }

  private WorkspaceRow with(long newGeneration, long newActiveUnixMillis) {
    return new WorkspaceRow(
        name,
        id,
        state,
        sourceTag,
        sandboxId,
        nextSandboxId,
        stateTag,
        stagedTag,
        retiredTag,
        newGeneration,
        memoryLimitMib,
        createdUnixMillis,
        newActiveUnixMillis);
  }
}
