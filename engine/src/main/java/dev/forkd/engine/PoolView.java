package dev.forkd.engine;

import dev.forkd.api.Tag;

/**
 * A pool at one moment.
 *
 * @param size children to be kept ready
 * @param prewarm whether they have worked once before they are handed out
 * @param ready children that wait
 * @param starting children that are being made
 */
public record PoolView(Tag tag, int size, boolean prewarm, int ready, int starting) {}
