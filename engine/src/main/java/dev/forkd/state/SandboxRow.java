package dev.forkd.state;

import java.util.Optional;

/**
 * A stored sandbox.
 *
 * @param pid its VMM process; 0 while there is none
 * @param startTicks start time of that process, which tells it from a later one with the same pid
 * @param detailJson what the engine keeps about it; opaque here
 */
public record SandboxRow(
    String id,
    SandboxState state,
    String snapshotTag,
    long pid,
    long startTicks,
    long createdUnixMillis,
    Optional<Integer> memoryLimitMib,
    String detailJson) {

  public SandboxRow withState(SandboxState newState) {
    return new SandboxRow(
        id, newState, snapshotTag, pid, startTicks, createdUnixMillis, memoryLimitMib, detailJson);
  }

  public SandboxRow withProcess(long newPid, long newStartTicks) {
    return new SandboxRow(
        id,
        state,
        snapshotTag,
        newPid,
        newStartTicks,
        createdUnixMillis,
        memoryLimitMib,
        detailJson);
  }

  public SandboxRow withDetail(String newDetailJson) {
    return new SandboxRow(
        id, state, snapshotTag, pid, startTicks, createdUnixMillis, memoryLimitMib, newDetailJson);
  }
}
