package dev.forkd.engine;

import dev.forkd.api.Tag;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * What a snapshot takes on disk, and its place in a chain.
 *
 * @param memoryLogicalBytes size of guest memory
 * @param memoryPhysicalBytes space of its own memory image; of a chain link only what diverged
 * @param memorySharedBytes space of the memory images it stands on, which others may share
 * @param vmstateBytes size of the device state
 * @param diskOwnBytes space of its own disk layer
 * @param diskSharedBytes space of the disk layers below, which others may share
 * @param contentHash of its memory and all it stands on, 64 hexadecimal digits
 * @param parentContentHash that of its parent when it was branched
 * @param ancestors what it stands on, the base first
 * @param dependents snapshots that name it as their parent, by tag
 */
public record SnapshotDetail(
    Tag tag,
    Path dir,
    long createdAtUnix,
    long memoryLogicalBytes,
    long memoryPhysicalBytes,
    long memorySharedBytes,
    long vmstateBytes,
    long diskOwnBytes,
    long diskSharedBytes,
    String contentHash,
    Optional<Tag> parent,
    Optional<String> parentContentHash,
    List<Tag> ancestors,
    List<Tag> dependents) {
  public SnapshotDetail {
    ancestors = List.copyOf(ancestors);
    dependents = List.copyOf(dependents);
  }

  /** Links below it; 0 for a base. */
  public int chainDepth() {
    return ancestors.size();
  }
}
