package dev.forkd.api.rest;

import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Answer of {@code GET /v1/snapshots/{tag}/info}: what a snapshot takes on disk, and its place in a
 * chain.
 *
 * @param dir absolute folder on the daemon's host
 * @param memoryLogicalBytes size of guest memory
 * @param memoryPhysicalBytes space of its own memory image; of a chain link only what diverged
 * @param memorySharedBytes space of the memory images it stands on, which others may share
 * @param vmstateBytes size of the device state
 * @param diskOwnBytes space of its own disk layer
 * @param diskSharedBytes space of the disk layers below, which others may share
 * @param contentHash of its memory and all it stands on, 64 hexadecimal digits
 * @param parentTag the chain edge: the snapshot it names as its parent
 * @param parentContentHash content hash of its parent when it was branched
 * @param chainDepth links below it; 0 for a base
 * @param dependents snapshots that name it as their parent, by tag
 * @param ancestors what it stands on, the base first
 */
public record SnapshotInfoDetail(
    String tag,
    String dir,
    OptionalLong createdAtUnix,
    long memoryLogicalBytes,
    long memoryPhysicalBytes,
    long memorySharedBytes,
    long vmstateBytes,
    long diskOwnBytes,
    long diskSharedBytes,
    Optional<String> contentHash,
    Optional<String> parentTag,
    Optional<String> parentContentHash,
    int chainDepth,
    List<String> dependents,
    List<String> ancestors) {
  public SnapshotInfoDetail {
    tag = Wire.text(tag, "tag");
    dir = dir == null ? "" : dir;
    dependents = Wire.list(dependents, "dependents");
    ancestors = Wire.list(ancestors, "ancestors");
  }
}
