package dev.forkd.sandbox;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.Certificate;
import dev.forkd.memory.MemoryImage;
import dev.forkd.snapshot.SnapshotManifest.LayerRef;
import dev.forkd.snapshot.SnapshotManifest.Platform;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/**
 * What has to survive the daemon about a sandbox, stored as JSON in its row: enough to take it over
 * alive, or to remove every trace of it.
 *
 * @param platform of the snapshot, which may be deleted meanwhile
 * @param ramInode of the memory it maps; 0 before it was started
 * @param memory the memory image it was forked from, then its parent, and so on
 * @param disk layers under its overlay, root first
 * @param activeLayer id of its overlay
 * @param snapshotToken hex; what the agent listens for before the fork handshake
 * @param ownToken hex; what it listens for afterwards
 * @param frozen its user processes wait for the handshake
 * @param certificate as last known
 */
public record SandboxRecord(
    String id,
    String snapshot,
    Platform platform,
    long createdAtUnix,
    int memoryMib,
    long diskBytes,
    long ramInode,
    List<MemoryImage> memory,
    List<LayerRef> disk,
    String activeLayer,
    String snapshotToken,
    String ownToken,
    boolean frozen,
    OptionalLong memoryLimitMib,
    int branchCount,
    Optional<String> lastBranchMemoryPath,
    Optional<String> failure,
    Certificate certificate) {
  private static final JsonMapper JSON = JsonMapper.shared();

  public SandboxRecord {
    memory = List.copyOf(memory);
    disk = List.copyOf(disk);
  }

  public String toJson() {
    return JSON.writeValueAsString(this);
  }

  /**
   * Reads what {@link #toJson} wrote.
   *
   * @throws ForkdException DATA_LOSS when it is damaged, or of a forkd that kept other things
   */
  public static SandboxRecord fromJson(String json) {
    try {
      return JSON.readValue(json, SandboxRecord.class);
    } catch (JacksonException e) {
      throw new ForkdException(
          ErrorCode.DATA_LOSS,
          "what is stored about it cannot be read: "
              + String.valueOf(e.getMessage()).lines().findFirst().orElse("no reason given"),
          e);
    }
  }

  /** All images it stands on, and its own overlay. */
  public List<String> images() {
    return java.util.stream.Stream.of(
            memory.stream().map(MemoryImage::id),
            disk.stream().map(LayerRef::id),
            java.util.stream.Stream.of(activeLayer))
        .flatMap(ids -> ids)
        .toList();
  }

  public SandboxRecord withRamInode(long inode) {
    return new SandboxRecord(
        id,
        snapshot,
        platform,
        createdAtUnix,
        memoryMib,
        diskBytes,
        inode,
        memory,
        disk,
        activeLayer,
        snapshotToken,
        ownToken,
        frozen,
        memoryLimitMib,
        branchCount,
        lastBranchMemoryPath,
        failure,
        certificate);
  }

  public SandboxRecord withCertificate(Certificate proof) {
    return new SandboxRecord(
        id,
        snapshot,
        platform,
        createdAtUnix,
        memoryMib,
        diskBytes,
        ramInode,
        memory,
        disk,
        activeLayer,
        snapshotToken,
        ownToken,
        frozen,
        memoryLimitMib,
        branchCount,
        lastBranchMemoryPath,
        failure,
        proof);
  }

  public SandboxRecord withFailure(String reason) {
    return new SandboxRecord(
        id,
        snapshot,
        platform,
        createdAtUnix,
        memoryMib,
        diskBytes,
        ramInode,
        memory,
        disk,
        activeLayer,
        snapshotToken,
        ownToken,
        frozen,
        memoryLimitMib,
        branchCount,
        lastBranchMemoryPath,
        Optional.of(reason),
        certificate);
  }

  public SandboxRecord withDisk(List<LayerRef> base, String active) {
    return new SandboxRecord(
        id,
        snapshot,
        platform,
        createdAtUnix,
        memoryMib,
        diskBytes,
        ramInode,
        memory,
        base,
        active,
        snapshotToken,
        ownToken,
        frozen,
        memoryLimitMib,
        branchCount,
        lastBranchMemoryPath,
        failure,
        certificate);
  }

  public SandboxRecord afterBranch(String memoryPath) {
    return new SandboxRecord(
        id,
        snapshot,
        platform,
        createdAtUnix,
        memoryMib,
        diskBytes,
        ramInode,
        memory,
        disk,
        activeLayer,
        snapshotToken,
        ownToken,
        frozen,
        memoryLimitMib,
        branchCount + 1,
        Optional.of(memoryPath),
        failure,
        certificate);
  }
}
