package dev.forkd.vmm.qemu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.Memfd;
import dev.forkd.vmm.BootSpec;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A QEMU that is removed while it is in use: the next start says so, and leaves nothing. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class MissingQemuTest {
  private static final VmHardware HARDWARE = new VmHardware(16);

  @TempDir Path dir;

  @Test
  void theNextStartSaysSo() throws IOException {
    Path binary = dir.resolve("qemu");
    Files.writeString(binary, "#!/bin/sh\necho QEMU emulator version 7.2.0\n");
    Files.setPosixFilePermissions(binary, PosixFilePermissions.fromString("rwxr-xr-x"));
    QemuInstallation qemu = new QemuInstallation(binary.toString(), List.of(), Map.of());
    Path run = Files.createDirectory(dir.resolve("run"));
    DiskChain disk =
        new DiskChain(
            List.of(), new DiskLayer("d1", dir.resolve("d1.qcow2"), DiskLayer.Format.QCOW2));
    Memfd memory = Memfd.create("missing", HARDWARE.memoryBytes());
    try (QemuVmm vmm = new QemuVmm(qemu, dir.resolve("kvm-probe"), Optional.empty())) {
      Files.delete(binary);
      assertMissing(
          binary,
          () ->
              vmm.boot(
                  new BootSpec(
                      new VmName("booted", run), HARDWARE, memory, disk, binary, binary, "")));
      assertMissing(
          binary,
          () ->
              vmm.restore(
                  new RestoreSpec(
                      new VmName("restored", run),
                      HARDWARE,
                      memory,
                      disk,
                      binary,
                      _ -> {},
                      false)));
    }
    assertThat(run).isEmptyDirectory();
  }

  private static void assertMissing(Path binary, Runnable start) {
    assertThatThrownBy(start::run)
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION);
              assertThat(e.message()).contains(binary.toString(), "apt-get install qemu-system");
            });
  }

  /** Where it is looked for. */
  @Test
  void whetherItIsThere() {
    assertThat(new QemuInstallation("sh", List.of(), Map.of()).isThere()).isTrue();
    assertThat(new QemuInstallation("/bin/sh", List.of(), Map.of()).isThere()).isTrue();
    assertThat(new QemuInstallation("no-such-qemu", List.of(), Map.of()).isThere()).isFalse();
    assertThat(new QemuInstallation("/no/such/qemu", List.of(), Map.of()).isThere()).isFalse();
  }
}
