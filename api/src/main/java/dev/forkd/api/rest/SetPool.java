package dev.forkd.api.rest;

import java.util.OptionalLong;

/**
 * Body of {@code PUT /v1/snapshots/{tag}/pool}.
 *
 * @param size children to keep ready, 0 to 1000; 0 switches it off
 * @param prewarm let each work once before it is handed out
 */
public record SetPool(OptionalLong size, boolean prewarm) {}
