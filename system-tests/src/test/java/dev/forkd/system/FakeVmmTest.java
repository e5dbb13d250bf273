package dev.forkd.system;

import dev.forkd.testkit.FakeVmm;
import dev.forkd.vmm.Vmm;

/** The fake keeps what it stands for. */
class FakeVmmTest extends VmmContract {
  private final Vmm fake = new FakeVmm();

  @Override
  Vmm vmm() {
    return fake;
  }
}
