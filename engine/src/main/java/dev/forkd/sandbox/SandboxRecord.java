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
import java.util.function.Consumer;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/**
 * What has to survive the daemon about a sandbox, stored as JSON in its row: enough to take it over
 * alive, or to remove every trace of it.
 *
 * @param platform of the snapshot, which may be deleted meanwhile
 * @param ramInode of the memory it maps; 0 before it was started
 * @param mappedImage id of the image its memory is a private mapping of, if that is not the first
 *     of {@code memory}: a copy of a branched process still maps what its source mapped, and has
 *     the pages in which the branch differs as its own
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
    Optional<String> mappedImage,
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
            java.util.stream.Stream.of(activeLayer),
            mappedImage.stream())
        .flatMap(ids -> ids)
        .distinct()
        .toList();
  }

  /** Where its memory comes from, as it turned out when it was started. */
  public SandboxRecord withMemory(long inode, String mapped, String token, boolean userFrozen) {
    return copy(c -> {
      c.ramInode = inode;
      c.mappedImage =
          mapped.equals(memory.getFirst().id()) ? Optional.empty() : Optional.of(mapped);
      c.snapshotToken = token;
      c.frozen = userFrozen;
    });
  }

  /** When it was handed out, if it waited before. */
  public SandboxRecord withCreatedAt(long unixSeconds) {
    return copy(c -> c.createdAtUnix = unixSeconds);
  }

  public SandboxRecord withCertificate(Certificate proof) {
    return copy(c -> c.certificate = proof);
  }

  public SandboxRecord withFailure(String reason) {
    return copy(c -> c.failure = Optional.of(reason));
  }

  public SandboxRecord withDisk(List<LayerRef> base, String active) {
    return copy(c -> {
      c.disk = base;
      c.activeLayer = active;
    });
  }

  public SandboxRecord afterBranch(String memoryPath) {
    return copy(c -> {
      c.branchCount++;
      c.lastBranchMemoryPath = Optional.of(memoryPath);
    });
  }

  /** The images above the one that is mapped: in their pages it differs from that from birth. */
  public List<MemoryImage> inherited() {
    return mappedImage
        .map(mapped -> memory.stream().takeWhile(image -> !image.id().equals(mapped)).toList())
        .orElse(List.of());
  }

  private SandboxRecord copy(Consumer<Changes> change) {
    Changes changes = new Changes();
    change.accept(changes);
    return changes.record();
  }

  /** What may change in the life of a sandbox. */
  private final class Changes {
    private long createdAtUnix = SandboxRecord.this.createdAtUnix;
    private long ramInode = SandboxRecord.this.ramInode;
    private Optional<String> mappedImage = SandboxRecord.this.mappedImage;
    private List<LayerRef> disk = SandboxRecord.this.disk;
    private String activeLayer = SandboxRecord.this.activeLayer;
    private String snapshotToken = SandboxRecord.this.snapshotToken;
    private boolean frozen = SandboxRecord.this.frozen;
    private int branchCount = SandboxRecord.this.branchCount;
    private Optional<String> lastBranchMemoryPath = SandboxRecord.this.lastBranchMemoryPath;
    private Optional<String> failure = SandboxRecord.this.failure;
    private Certificate certificate = SandboxRecord.this.certificate;

    private SandboxRecord record() {
      return new SandboxRecord(
          id,
          snapshot,
          platform,
          createdAtUnix,
          memoryMib,
          diskBytes,
          ramInode,
          mappedImage,
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
  }
}
