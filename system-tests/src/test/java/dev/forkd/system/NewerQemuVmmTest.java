package dev.forkd.system;

import static org.junit.jupiter.api.Assumptions.abort;

import dev.forkd.vmm.Vmm;
import dev.forkd.vmm.qemu.QemuInstallation;
import dev.forkd.vmm.qemu.QemuVmm;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeAll;

/** The newer QEMU of Debian's backports, unpacked into a folder. */
class NewerQemuVmmTest extends VmmContract {
  private static final Path FOLDER = Path.of("target", "system", "qemu-newer").toAbsolutePath();
  private static QemuVmm qemu;

  @BeforeAll
  static void unpack() throws IOException, InterruptedException {
    Process process =
        new ProcessBuilder(Path.of("qemu-newer").toAbsolutePath().toString(), FOLDER.toString())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    Path root = FOLDER.resolve("root");
    if (process.waitFor() != 0 || !Files.isDirectory(root)) {
      System.err.println("!! NOT TESTED on a newer QEMU: the backports do not answer: " + output);
      abort("no newer QEMU: " + output);
    }
    qemu =
        new QemuVmm(
            QemuInstallation.unpacked(root), FOLDER.resolve("kvm-probe"), QemuVmmTest.copyHelper());
    System.out.println("contract on QEMU " + qemu.capabilities().version());
  }

  @Override
  Vmm vmm() {
    return qemu;
  }
}
