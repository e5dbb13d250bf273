package dev.forkd.system;

import dev.forkd.vmm.Vmm;
import dev.forkd.vmm.qemu.QemuInstallation;
import dev.forkd.vmm.qemu.QemuVmm;
import java.nio.file.Path;

/** The QEMU of the host. */
class QemuVmmTest extends VmmContract {
  private static final Vmm QEMU =
      new QemuVmm(QemuInstallation.ofHost(), Path.of("target", "kvm-probe").toAbsolutePath());

  @Override
  Vmm vmm() {
    return QEMU;
  }
}
