package dev.forkd.api.rest;

/**
 * A file in a guest.
 *
 * @param type {@code file}, {@code directory}, {@code symlink} or {@code other}
 * @param mode permission bits
 */
public record FileEntry(
    String path, String type, long sizeBytes, int mode, int uid, int gid, long modifiedUnixMs) {}
