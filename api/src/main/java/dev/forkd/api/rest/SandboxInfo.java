package dev.forkd.api.rest;

import com.fasterxml.jackson.annotation.JsonInclude;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * A sandbox. The four components that the published clients expect to find are null on the wire
 * when empty; the others are left out.
 *
 * @param guestAddr constant; kept for old clients
 * @param pid the VMM's process on the daemon's host
 * @param isolation {@code kvm} or {@code emulation}
 * @param state {@code created}, {@code idle}, {@code running}, {@code failed}, or {@code killing}
 *     while its removal is not over
 * @param divergedBytes guest memory of its own, not shared with its snapshot
 */
public record SandboxInfo(
    String id,
    String snapshotTag,
    @JsonInclude(JsonInclude.Include.ALWAYS) Optional<String> netns,
    String guestAddr,
    long createdAtUnix,
    @JsonInclude(JsonInclude.Include.ALWAYS) OptionalInt pid,
    @JsonInclude(JsonInclude.Include.ALWAYS) OptionalLong memoryLimitMib,
    boolean hasBranched,
    @JsonInclude(JsonInclude.Include.ALWAYS) Optional<String> lastBranchMemoryPath,
    int branchCount,
    String isolation,
    String state,
    Optional<String> failure,
    int memoryMib,
    OptionalLong divergedBytes,
    Optional<CertificateInfo> certificate) {
  public SandboxInfo {
    id = Wire.text(id, "id");
    snapshotTag = snapshotTag == null ? "" : snapshotTag;
    guestAddr = guestAddr == null ? "" : guestAddr;
    isolation = isolation == null ? "" : isolation;
    state = state == null ? "" : state;
  }
}
