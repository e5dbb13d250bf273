package dev.forkd.vmm.qemu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.vmm.VmName;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is told of a process that cannot be started: each cause has its own remedy. */
class QemuProcessTest {
  @TempDir Path run;

  private void start(String program) {
    QemuProcess.start(
        QemuInstallation.ofHost(),
        new VmName("sb1", run),
        List.of(program),
        Path.of("/dev/null"),
        false);
  }

  /** Whoever lacks the program is told what to install. */
  @Test
  void aMissingProgramIsNamedWithItsPackage() {
    assertThatThrownBy(() -> start("no-such-setsid"))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION);
              assertThat(e.message()).contains("no-such-setsid", "sb1", "apt-get install");
            });
  }

  /** A log that cannot be opened is no reason to install anything. */
  @Test
  void aLogThatCannotBeOpenedIsTold() throws IOException {
    Files.createDirectory(run.resolve("sb1.log"));
    assertThatThrownBy(() -> start("sh"))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.INTERNAL);
              assertThat(e.message()).contains("sb1.log", run.toString());
              assertThat(e.message()).doesNotContain("Install");
            });
  }

  /** Where the host or a limit gives no more, that is what is told, in the system's words. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "posix_spawn failed, error: 11 (Resource temporarily unavailable)",
        "posix_spawn failed, error: 12 (Cannot allocate memory)",
        "Exec failed, error: 24 (Too many open files)",
        "/run/forkd/sb1.log (Too many open files)",
        "/run/forkd/sb1.log (No space left on device)",
      })
  void whatTheHostLacksIsTold(String words) {
    ForkdException told =
        QemuProcess.notStarted(new VmName("sb1", run), "sh", new IOException(words));
    assertThat(told.code()).isEqualTo(ErrorCode.RESOURCE_EXHAUSTED);
    assertThat(told.message()).contains(words, "ulimit");
    assertThat(told.message()).doesNotContain("Install");
  }
}
