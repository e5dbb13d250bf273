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

  /**
   * One disk layer by name.
   *
   * @param sizeBytes of its file; empty, as the hash, in snapshots of a time when they were not
   *     kept
   * @param contentHash of its file
   */
  public record LayerRef(
      String id, String format, OptionalLong sizeBytes, Optional<String> contentHash) {}

  /**
   * Where a branch comes from, and what it cost; or what it was made of.
   *
   * @param parent tag of the snapshot the source was forked from, or that it was made of
   * @param branchedFrom id of the source, or {@code <mode>:<tag>} of what was not branched
   * @param parentTag chain edge the caller asked for
   * @param mode {@code full}, {@code diff}, {@code measure_diff}, {@code compact} or {@code reboot}
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
    public static final String COMPACT = "compact";
    public static final String REBOOT = "reboot";

    /** Of what was made of another snapshot, in one of the two ways above. */
    public static Lineage made(String of, String how) {
      return new Lineage(
          of,
          how + ":" + of,
          Optional.empty(),
          how,
          0,
          0,
          OptionalLong.empty(),
          OptionalLong.empty(),
          OptionalLong.empty());
    }

    /** Whether it was branched from a sandbox, not made of another snapshot. */
    boolean branched() {
      return !mode.equals(COMPACT) && !mode.equals(REBOOT);
    }
  }

  public SnapshotManifest {
    memory = List.copyOf(memory);
    disk = List.copyOf(disk);
  }
}
