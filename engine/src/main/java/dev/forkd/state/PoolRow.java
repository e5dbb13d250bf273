package dev.forkd.state;

/**
 * A stored pool.
 *
 * @param size children to be kept ready, above 0
 * @param prewarm whether they work once before they are handed out
 */
public record PoolRow(String tag, int size, boolean prewarm) {}
