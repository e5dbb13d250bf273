package dev.forkd.state;

/**
 * An immutable file that snapshots and sandboxes stand on. It lives as long as a {@link LayerRef}
 * names it.
 *
 * @param path as the engine wrote it; opaque here
 * @param bytes room it takes on disk
 */
public record LayerRow(String id, LayerKind kind, String path, long bytes) {}
