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
 */
public record RestoreSpec(
    VmName name,
    VmHardware hardware,
    Memfd ram,
    DiskChain disk,
    Path devices,
    LongConsumer started) {}
