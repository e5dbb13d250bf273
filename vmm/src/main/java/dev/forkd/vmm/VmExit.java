package dev.forkd.vmm;

/**
 * How a VM ended.
 *
 * @param reason exit status or signal if known, and the end of what the monitor printed
 */
public record VmExit(String reason) {}
