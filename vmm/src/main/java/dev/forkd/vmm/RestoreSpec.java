package dev.forkd.vmm;

import dev.forkd.linux.Memfd;
import java.nio.file.Path;
import java.util.function.LongConsumer;

/**
 * A restore from saved state.
 *
 * @param ram the sealed memory image; mapped copy-on-write, never written
 * @param devices saved device state
 * @param started hears the process id as soon as there is one, before the guest's memory is
 *     touched: the moment to put it into its cgroup
 * @param copyable the process will be copied ({@link RunningVm#copier}). Only for a VM in which
 *     nothing of a user's ever runs: what keeps a monitor from starting processes would keep it
 *     from being copied, so its copies get that protection, not it
 */
public record RestoreSpec(
    VmName name,
    VmHardware hardware,
    Memfd ram,
    DiskChain disk,
    Path devices,
    LongConsumer started,
    boolean copyable) {}
