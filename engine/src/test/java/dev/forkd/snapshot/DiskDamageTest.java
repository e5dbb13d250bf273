package dev.forkd.snapshot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * A disk layer that is no longer what it was makes its snapshot, and what stands on it, unusable.
 */
class DiskDamageTest {
  @TempDir Path folder;

  /** Ways in which a file is not what it was. */
  enum Damage {
    GONE,
    SHORTER,
    SAME_SIZE_AND_TIME
  }

  private static void damage(Path file, Damage how) throws Exception {
    FileTime before = Files.getLastModifiedTime(file);
    String content = Files.readString(file);
    switch (how) {
      case GONE -> Files.delete(file);
      case SHORTER -> Files.writeString(file, content.substring(1));
      case SAME_SIZE_AND_TIME -> {
        Object changed = Files.getAttribute(file, "unix:ctime");
        // The clock of the files' times may tick but every 10 ms.
        while (Files.getAttribute(file, "unix:ctime").equals(changed)) {
          Thread.sleep(2);
          Files.writeString(file, content.replace('d', 'x'));
          Files.setLastModifiedTime(file, before);
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void aDamagedRootIsFoundByAllThatStandOnIt(Damage how) throws Exception {
    try (SnapshotShelf shelf = new SnapshotShelf(folder)) {
      shelf.base("one");
      shelf.branch("two", "one", 3, false);
      shelf.base("other");
      Path root = shelf.dir.images().resolve("rone.raw");
      damage(root, how);
      for (String tag : new String[] {"one", "two"}) {
        assertThatThrownBy(() -> shelf.catalog.require(new Tag(tag)))
            .isInstanceOfSatisfying(
                ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DATA_LOSS))
            .hasMessageContaining(root.toString())
            .hasMessageContaining("make them again");
      }
      assertThat(shelf.catalog.require(new Tag("other")).tag()).isEqualTo("other");
    }
  }

  /** What is only touched, or met by another daemon, is read again and found to be right. */
  @Test
  void whatHasNotChangedIsUsable() throws Exception {
    try (SnapshotShelf shelf = new SnapshotShelf(folder)) {
      shelf.base("one");
      Path root = shelf.dir.images().resolve("rone.raw");
      Files.setLastModifiedTime(root, FileTime.fromMillis(1));
      assertThat(shelf.catalog.require(new Tag("one")).tag()).isEqualTo("one");
    }
    Files.delete(folder.resolve("data/images.intact"));
    try (SnapshotShelf shelf = new SnapshotShelf(folder)) {
      assertThat(shelf.catalog.require(new Tag("one")).tag()).isEqualTo("one");
    }
  }

  /** Snapshots of a time when layers were not hashed can still be used. */
  @Test
  void aManifestWithoutHashesIsReadable() throws Exception {
    try (SnapshotShelf shelf = new SnapshotShelf(folder)) {
      shelf.base("one");
      Path manifest = shelf.dir.snapshot("one").resolve(SnapshotFiles.MANIFEST);
      String old =
          Files.readString(manifest)
              .replaceAll(
                  "(\"format\" : \"raw\"),\\s*\"sizeBytes\" : [0-9]+,\\s*\"contentHash\" : \"[0-9a-f]+\"",
                  "$1");
      Files.writeString(manifest, old);
    }
    try (SnapshotShelf shelf = new SnapshotShelf(folder)) {
      assertThat(shelf.catalog.require(new Tag("one")).disk().getFirst().contentHash()).isEmpty();
    }
  }
}
