package dev.forkd.system;

import dev.forkd.template.CopyHelperBinary;
import dev.forkd.template.ForkdHome;
import dev.forkd.vmm.Vmm;
import dev.forkd.vmm.qemu.QemuInstallation;
import dev.forkd.vmm.qemu.QemuVmm;
import java.nio.file.Path;
import java.util.Optional;

/** The QEMU of the host. */
class QemuVmmTest extends VmmContract {
  private static final Vmm QEMU =
      new QemuVmm(
          QemuInstallation.ofHost(), Path.of("target", "kvm-probe").toAbsolutePath(), copyHelper());

  /** The program that copies processes, built where the system tests keep what they build. */
  static Optional<Path> copyHelper() {
    return new CopyHelperBinary(ForkdHome.find(), Lab.DATA_DIR.resolve("guest")).build();
  }

  @Override
  Vmm vmm() {
    return QEMU;
  }
}
