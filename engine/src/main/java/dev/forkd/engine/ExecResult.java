package dev.forkd.engine;

/**
 * What a finished command left.
 *
 * @param truncated output beyond the limit was dropped
 */
public record ExecResult(
    ExecExit exit, byte[] stdout, byte[] stderr, boolean truncated, double wallMillis) {}
