package dev.forkd.state;

/**
 * A stored hosted sandbox; the workspace of the same name has its sandbox or its saved state.
 *
 * @param detailJson what it was made as
 * @param diskOnly it was paused, or is being paused, without its memory
 */
public record HostedRow(
    String id, String detailJson, boolean diskOnly, long startedUnixMillis, long endUnixMillis) {}
