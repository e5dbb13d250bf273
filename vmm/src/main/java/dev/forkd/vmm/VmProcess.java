package dev.forkd.vmm;

/**
 * The process behind a VM.
 *
 * @param startTicks start time in clock ticks since boot, field 22 of {@code /proc/PID/stat}
 */
public record VmProcess(int pid, long startTicks) {}
