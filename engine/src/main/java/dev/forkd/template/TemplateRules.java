package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.vmm.VmHardware;
import java.time.Duration;

/** What a template's recipe may ask for. */
final class TemplateRules {
  private static final int MIN_DISK_MIB = 256;
  private static final int MAX_DISK_MIB = 1 << 20;
  private static final Duration MAX_BOOT_TIMEOUT = Duration.ofMinutes(10);

  private TemplateRules() {}

  /**
   * @throws ForkdException INVALID_ARGUMENT naming the value and its limits
   */
  static void check(TemplateSpec spec) {
    within("memory_mib", spec.memoryMib(), VmHardware.MIN_MEMORY_MIB, VmHardware.MAX_MEMORY_MIB);
    within("disk_mib", spec.diskMib(), MIN_DISK_MIB, MAX_DISK_MIB);
    within("boot_timeout_secs", spec.bootTimeout().toSeconds(), 1, MAX_BOOT_TIMEOUT.toSeconds());
  }

  private static void within(String name, long value, long least, long most) {
    if (value < least || value > most) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          name + " must be " + least + " to " + most + ", not " + value);
    }
  }
}
