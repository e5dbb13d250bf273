package dev.forkd.template;

/**
 * A loadable kernel module, decompressed.
 *
 * @param fileName such as {@code virtio_blk.ko}
 */
record KernelModule(String fileName, byte[] content) {}
