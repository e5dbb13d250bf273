package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import dev.forkd.linux.DurableFiles;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotFiles;
import dev.forkd.snapshot.SnapshotManifest;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Where a template's own files are written. A new one has its tag from the start. One that takes
 * the place of another is written aside, and the other goes only when all else is done: until then
 * it can be forked, and it stays when the new one fails.
 *
 * <p>Closed before it was completed, it leaves the tag as it was.
 */
final class TemplatePlace implements AutoCloseable {
  private final SnapshotCatalog snapshots;
  private final Tag tag;
  private final Optional<SnapshotManifest> old;
  private final Path folder;
  private boolean reserved;
  private boolean complete;

  /**
   * @param staging holds unfinished work; on the same file system
   * @param old what has the tag until then
   */
  TemplatePlace(SnapshotCatalog snapshots, Path staging, Tag tag, Optional<SnapshotManifest> old)
      throws IOException {
    this.snapshots = snapshots;
    this.tag = tag;
    this.old = old;
    this.folder = old.isPresent() ? Files.createTempDirectory(staging, "template-") : reserve();
  }

  private Path reserve() {
    Path own = snapshots.reserve(tag, true, Optional.empty(), System.currentTimeMillis() / 1000);
    reserved = true;
    return own;
  }

  /** The device state goes here. */
  Path folder() {
    return folder;
  }

  /** Makes it the template of its tag. */
  Snapshot complete(SnapshotManifest manifest) throws IOException {
    if (old.isPresent()) {
      removeOld(old.get());
      DurableFiles.publish(
          folder.resolve(SnapshotFiles.DEVICES), reserve().resolve(SnapshotFiles.DEVICES));
    }
    Snapshot snapshot = snapshots.complete(tag, manifest);
    complete = true;
    return snapshot;
  }

  /** What somebody else has made under this tag meanwhile is not ours to remove. */
  private void removeOld(SnapshotManifest replaced) {
    if (snapshots.find(tag).filter(replaced::equals).isPresent()) {
      try {
        snapshots.delete(tag, DeleteMode.FORCE);
      } catch (ForkdException e) {
        if (e.code() != ErrorCode.NOT_FOUND) {
          throw e;
        }
      }
    }
  }

  @Override
  public void close() {
    if (reserved && !complete) {
      snapshots.abandon(tag);
    }
    if (old.isPresent()) {
      try {
        AssetFiles.deleteTree(folder);
      } catch (IOException e) {
        // The next start cleans the staging folder.
        System.getLogger(TemplatePlace.class.getName())
            .log(System.Logger.Level.WARNING, "delete {0}: {1}", folder, e.getMessage());
      }
    }
  }
}
