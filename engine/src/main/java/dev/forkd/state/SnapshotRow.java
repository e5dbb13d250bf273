package dev.forkd.state;

import java.util.Optional;

/**
 * A stored snapshot.
 *
 * @param parentTag the chain edge: the snapshot it names as its parent
 * @param branchedFrom id of the sandbox it was branched from, or {@code compact:<tag>}, {@code
 *     reboot:<tag>}
 * @param branchMode how it was branched, or {@code compact}, {@code reboot}
 * @param manifestJson what the engine keeps about it; opaque here
 */
public record SnapshotRow(
    String tag,
    SnapshotState state,
    boolean template,
    Optional<String> parentTag,
    Optional<String> branchedFrom,
    Optional<String> branchMode,
    long createdUnixMillis,
    String manifestJson) {

  public SnapshotRow withState(SnapshotState newState) {
    return new SnapshotRow(
        tag,
        newState,
        template,
        parentTag,
        branchedFrom,
        branchMode,
        createdUnixMillis,
        manifestJson);
  }

  public SnapshotRow withManifest(String newManifestJson) {
    return new SnapshotRow(
        tag,
        state,
        template,
        parentTag,
        branchedFrom,
        branchMode,
        createdUnixMillis,
        newManifestJson);
  }
}
