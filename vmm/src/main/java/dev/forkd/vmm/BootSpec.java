package dev.forkd.vmm;

import dev.forkd.linux.Memfd;
import java.nio.file.Path;

/**
 * A cold boot.
 *
 * @param ram guest memory, written by the guest itself: after the VM is gone it is the memory image
 * @param commandLine kernel arguments
 */
public record BootSpec(
    VmName name,
    VmHardware hardware,
    Memfd ram,
    DiskChain disk,
    Path kernel,
    Path initramfs,
    String commandLine) {}
