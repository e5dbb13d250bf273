package dev.forkd.api.rest;

import java.util.Optional;
import java.util.OptionalLong;

/**
 * A snapshot or template.
 *
 * @param dir absolute folder on the daemon's host
 * @param branchedFrom the sandbox it was branched from, or {@code compact:<tag>}, {@code
 *     reboot:<tag>}
 * @param pauseMs how long the source stood still
 * @param diffMs time spent on diverged pages
 * @param diffPhysicalBytes diverged guest memory that was stored
 * @param diffLogicalBytes size of guest memory
 * @param status {@code writing}, {@code ready} or {@code failed}
 * @param parentTag the chain edge: the snapshot it names as its parent
 * @param sourceTag the snapshot it was made from: what its source was forked from, or was compacted
 * @param branchMode {@code full}, {@code diff}, {@code measure_diff}, {@code compact} or {@code
 *     reboot}
 * @param freezeMs time to freeze the guest's processes, before the pause
 * @param memoryBytes what its memory image takes on disk
 * @param diskBytes what its disk layers take
 */
public record SnapshotInfo(
    String tag,
    String dir,
    long createdAtUnix,
    Optional<String> branchedFrom,
    OptionalLong pauseMs,
    OptionalLong diffMs,
    OptionalLong diffPhysicalBytes,
    OptionalLong diffLogicalBytes,
    Optional<String> warning,
    String status,
    boolean bootable,
    boolean template,
    Optional<String> parentTag,
    Optional<String> sourceTag,
    Optional<String> branchMode,
    OptionalLong freezeMs,
    int memoryMib,
    long memoryBytes,
    long diskBytes) {
  public SnapshotInfo {
    tag = Wire.text(tag, "tag");
    dir = dir == null ? "" : dir;
    status = status == null ? "ready" : status;
  }
}
