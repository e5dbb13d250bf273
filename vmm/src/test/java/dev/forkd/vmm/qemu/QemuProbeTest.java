package dev.forkd.vmm.qemu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.vmm.Isolation;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class QemuProbeTest {
  /** The probe's guest really runs to its end, where the accelerator works. */
  @Test
  void probeGuestRunsUnderEmulation() {
    assertThat(
            QemuProbe.runs(
                QemuInstallation.ofHost(),
                List.of("-accel", "tcg", "-cpu", "qemu64"),
                Duration.ofSeconds(60)))
        .isTrue();
  }

  /** A QEMU that cannot start the guest is no accelerator. */
  @Test
  void brokenAcceleratorIsNone() {
    assertThat(
            QemuProbe.runs(
                QemuInstallation.ofHost(),
                List.of("-accel", "no-such-accelerator"),
                Duration.ofSeconds(20)))
        .isFalse();
  }

  /** The answer is kept for this boot of the host and this binary, and for no other. */
  @Test
  void answerIsRemembered(@TempDir Path dir) throws Exception {
    Path memory = dir.resolve("probe");
    Isolation first = QemuProbe.isolation(QemuInstallation.ofHost(), memory);
    assertThat(QemuProbe.isolation(QemuInstallation.ofHost(), memory)).isEqualTo(first);
    if (Files.exists(memory)) {
      Files.write(memory, List.of("another boot qemu-system-x86_64", "KVM"));
      assertThat(QemuProbe.isolation(QemuInstallation.ofHost(), memory)).isEqualTo(first);
    }
  }

  /** Versions as QEMU prints them, and what is too old or no QEMU at all. */
  @Test
  void versions() {
    assertThat(QemuProbe.supported("q", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"))
        .isEqualTo("7.2.22");
    assertThat(QemuProbe.supported("q", "QEMU emulator version 10.0.2")).isEqualTo("10.0.2");
    assertThatThrownBy(() -> QemuProbe.supported("q", "QEMU emulator version 6.2.0"))
        .hasMessageContaining("7.2 or newer");
    assertThatThrownBy(() -> QemuProbe.supported("q", "hello"))
        .hasMessageContaining("does not answer like QEMU");
  }

  /** A host without QEMU is told what to install. */
  @Test
  void missingBinary() {
    assertThatThrownBy(
            () -> QemuProbe.version(new QemuInstallation("/no/such/qemu", List.of(), Map.of())))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION);
              assertThat(e.message()).contains("/no/such/qemu", "apt-get install");
            });
  }
}
