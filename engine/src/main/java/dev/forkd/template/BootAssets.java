package dev.forkd.template;

import java.nio.file.Path;

/**
 * What a guest boots from, besides its disk.
 *
 * @param kernel the compressed kernel image
 * @param kernelVersion the kernel's release, as {@code uname -r} prints it in the guest
 * @param initramfs the archive with the agent and the kernel modules; named by its content
 * @param agentHash SHA-256 over the agent's sources, in hexadecimal
 * @param tscKhz frequency of this host's time stamp counter, for {@code tsc_early_khz=}
 */
public record BootAssets(
    Path kernel, String kernelVersion, Path initramfs, String agentHash, int tscKhz) {}
