package dev.forkd.vmm;

/**
 * A VM that is thought to be alive.
 *
 * @param pid its process
 * @param startTicks start time of that process in clock ticks since boot: a reused pid differs
 * @param ramInode inode of the memory file it maps, to find guest memory again
 */
public record AttachSpec(
    VmName name, VmHardware hardware, DiskChain disk, int pid, long startTicks, long ramInode) {}
