package dev.forkd.snapshot;

import dev.forkd.api.KnownTemplate;
import dev.forkd.memory.MemoryImage;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Everything that has to be known to start a VM from a snapshot, or to refuse to. Written as {@code
 * snapshot.json} when, and only when, all other files are complete and durable.
 *
 * @param version of this format; a reader refuses those it does not know
 * @param platform what it was made with and can only be started with
 * @param memory the memory image, then its parent, and so on down to a flat one
 * @param disk layers, root first, all immutable
 * @param diskBytes size of the guest's disk
 * @param devicesSha256 of {@code devices.bin}
 * @param resyncToken hex of what the guest agent listens for to begin a new conversation
 * @param frozen user processes are frozen inside and wait for the fork handshake
 * @param rehearsals commands that its children are to find warm
 * @param recipe of a template: a hash that tells whether it is what was asked for
 */
public record SnapshotManifest(
    int version,
    String tag,
    long createdAtUnix,
    boolean template,
    Optional<String> recipe,
    Platform platform,
    int memoryMib,
    long diskBytes,
    List<MemoryImage> memory,
    List<LayerRef> disk,
    String devicesSha256,
    String resyncToken,
    boolean frozen,
    Optional<List<KnownTemplate.Rehearsal>> rehearsals,
    Optional<Lineage> lineage) {

  public static final int VERSION = 2;

  /**
   * What a snapshot was made with.
   *
   * @param vmm name and version of the monitor that saved the device state
   * @param isolation tier it was saved under; the CPU model depends on it
   * @param machineHash hash of the machine's arguments: device state fits only the same machine
   * @param tscKhz clock rate the guest kernel was told
   * @param kernel release of the guest kernel
   * @param agentHash of the guest agent's binary
   */
  public record Platform(
      String vmm,
      String isolation,
      String machineHash,
      int tscKhz,
      String kernel,
      String agentHash) {}

  /** One disk layer by name. */
  public record LayerRef(String id, String format) {}

  /**
   * Where a branch comes from, and what it cost; or what was compacted.
   *
   * @param parent tag of the snapshot the source was forked from, or that was compacted
   * @param branchedFrom id of the source, or {@code compact:<tag>}
   * @param parentTag chain edge the caller asked for
   * @param mode {@code full}, {@code diff}, {@code measure_diff} or {@code compact}
   */
  public record Lineage(
      String parent,
      String branchedFrom,
      Optional<String> parentTag,
      String mode,
      long pauseMillis,
      long freezeMillis,
      OptionalLong diffMillis,
      OptionalLong diffPhysicalBytes,
      OptionalLong diffLogicalBytes) {
    static final String COMPACT = "compact";

    /** Whether it was not branched but made of another snapshot. */
    boolean compacted() {
      return mode.equals(COMPACT);
    }
  }

  public SnapshotManifest {
    memory = List.copyOf(memory);
    disk = List.copyOf(disk);
  }
}
