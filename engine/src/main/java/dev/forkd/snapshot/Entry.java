package dev.forkd.snapshot;

import dev.forkd.snapshot.SnapshotManifest.Lineage;
import java.util.Optional;

/** What is known about one tag. */
sealed interface Entry {
  /** The chain edge: the snapshot it names as its parent. */
  Optional<String> parentTag();

  /**
   * Reserved; its files are being made.
   *
   * @param lineage once its source runs on and only its files are unfinished
   * @param warning for the user
   */
  record Writing(
      long sinceUnix,
      Optional<String> parentTag,
      Optional<Lineage> lineage,
      Optional<String> warning)
      implements Entry {}

  /** Complete. */
  record Ready(SnapshotManifest manifest) implements Entry {
    @Override
    public Optional<String> parentTag() {
      return manifest.lineage().flatMap(Lineage::parentTag);
    }
  }

  /** There, but not to be used; {@code why} is for people. */
  record Damaged(String why, long createdAtUnix, boolean template, Optional<String> parentTag)
      implements Entry {}

  /** Its removal has begun: only its tag is still taken. */
  record Deleting(Optional<String> parentTag) implements Entry {}
}
