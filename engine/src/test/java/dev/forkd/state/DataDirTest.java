package dev.forkd.state;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.ProcessIdentity;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DataDirTest {
  @TempDir Path temp;
  @TempDir Path runtime;

  @AfterEach
  void removeRuntimeDirs() throws Exception {
    for (Path candidate : List.of(temp.resolve("data"), temp.resolve("other"))) {
      if (Files.isSymbolicLink(candidate.resolve("run"))) {
        DataDir.deleteTree(Files.readSymbolicLink(candidate.resolve("run")));
      }
    }
  }

  /** The variables are looked at in the documented order. */
  @Test
  void location() {
    assertThat(DataDir.locate(Map.of("FORKD_DATA_DIR", "/a", "XDG_DATA_HOME", "/b", "HOME", "/c")))
        .isEqualTo(Path.of("/a"));
    assertThat(DataDir.locate(Map.of("FORKD_DATA_DIR", " ", "XDG_DATA_HOME", "/b", "HOME", "/c")))
        .isEqualTo(Path.of("/b/forkd"));
    assertThat(DataDir.locate(Map.of("HOME", "/c"))).isEqualTo(Path.of("/c/.local/share/forkd"));
  }

  /** All folders are made, private. */
  @Test
  void foldersArePrivate() throws Exception {
    DataDir dir = open("data");
    for (Path folder :
        List.of(
            dir.root(),
            dir.snapshots(),
            dir.images(),
            dir.ram(),
            dir.guest(),
            dir.staging(),
            dir.logs(),
            dir.runtimeDir(),
            dir.newStaging("bake"))) {
      assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(folder)))
          .as(folder.toString())
          .isEqualTo("rwx------");
    }
    assertThatThrownBy(() -> dir.snapshot("")).isInstanceOf(ForkdException.class);
  }

  /** Sockets stay where they are even when a later owner has another environment. */
  @Test
  void runtimeDirIsShortAndStays() throws Exception {
    DataDir first = open("data");
    assertThat(first.runtimeDir().getParent()).isEqualTo(runtime);
    assertThat(first.runtimeDir().getFileName().toString()).matches("forkd-[0-9a-f]{8}");
    assertThat(DataDir.open(first.root(), Map.of()).runtimeDir()).isEqualTo(first.runtimeDir());
    assertThat(open("other").runtimeDir()).isNotEqualTo(first.runtimeDir());
    assertThat(open("other").cgroupPrefix()).isNotEqualTo(first.cgroupPrefix());
    // After a reboot the folder is gone and another may be chosen.
    Files.delete(first.runtimeDir());
    DataDir later = DataDir.open(first.root(), Map.of("XDG_RUNTIME_DIR", "/" + "x".repeat(90)));
    assertThat(later.runtimeDir()).isNotEqualTo(first.runtimeDir()).isDirectory();
    assertThat(later.runtimeDir().resolve("s".repeat(40) + ".q").toString().length())
        .isLessThan(108);
  }

  /** A folder another user could reach is not used. */
  @Test
  void openRuntimeDirIsRefused() throws Exception {
    Path taken = open("data").runtimeDir();
    Files.setPosixFilePermissions(taken, PosixFilePermissions.fromString("rwxrwxrwx"));
    assertThat(open("data").runtimeDir()).isNotEqualTo(taken);
  }

  /** Staging is emptied without following links out of it. */
  @Test
  void stagingIsEmptied() throws Exception {
    DataDir dir = open("data");
    Path precious = Files.writeString(temp.resolve("precious"), "keep");
    Path folder = Files.createDirectories(dir.staging().resolve("b/deep/er"));
    Files.writeString(folder.resolve("file"), "x");
    Files.writeString(dir.staging().resolve("a"), "x");
    Files.createSymbolicLink(dir.staging().resolve("c"), temp);
    Files.createSymbolicLink(folder.resolve("link"), precious);
    assertThat(dir.cleanStaging()).containsExactly("a", "b", "c");
    assertThat(dir.cleanStaging()).isEmpty();
    assertThat(precious).exists();
    assertThat(dir.staging()).isDirectory();
  }

  /** A folder that cannot be written is named, with what to do. */
  @Test
  void unusableFolder() throws Exception {
    Path file = Files.writeString(temp.resolve("file"), "x");
    assertThatThrownBy(() -> DataDir.open(file, Map.of()))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.PERMISSION_DENIED);
              assertThat(e.message()).contains(file.toString()).contains("--data-dir");
            });
  }

  /** Within one process the lock is held once; given back, it can be taken again. */
  @Test
  void lockIsHeldOnce() {
    DataDir dir = open("data");
    assertThat(DataDirLock.owner(dir)).isEmpty();
    try (DataDirLock lock = DataDirLock.acquire(dir)) {
      assertThat(lock).isNotNull();
      assertThat(DataDirLock.owner(dir)).contains(ProcessIdentity.self());
      assertThat(DataDirLock.tryAcquire(dir)).isEmpty();
      assertThatThrownBy(() -> DataDirLock.acquire(dir, Duration.ofMillis(120)))
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION);
                assertThat(e.message())
                    .contains(dir.root().toString())
                    .contains("process " + ProcessHandle.current().pid());
              });
    }
    DataDirLock.acquire(dir).close();
  }

  /** Another process that holds it is named, and its sudden end frees the lock. */
  @Test
  void lockOfAnotherProcess() throws Exception {
    DataDir dir = open("data");
    Process holder = Child.start(Child.Task.HOLD_LOCK, dir.root());
    try {
      assertThat(holder.inputReader().readLine()).isEqualTo("held");
      assertThat(DataDirLock.tryAcquire(dir)).isEmpty();
      assertThat(DataDirLock.owner(dir)).contains(ProcessIdentity.of(holder.pid()));
      assertThatThrownBy(() -> DataDirLock.acquire(dir))
          .hasMessageContaining("process " + holder.pid() + " (java)");
    } finally {
      holder.destroyForcibly().waitFor();
    }
    assertThat(DataDirLock.owner(dir)).isEmpty();
    DataDirLock.acquire(dir, Duration.ofSeconds(60)).close();
  }

  private DataDir open(String name) {
    DataDir dir = DataDir.open(temp.resolve(name), Map.of("XDG_RUNTIME_DIR", runtime.toString()));
    assertThat(Files.isDirectory(dir.root(), LinkOption.NOFOLLOW_LINKS)).isTrue();
    return dir;
  }
}
