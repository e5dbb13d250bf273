package dev.forkd.sdk;

import java.util.OptionalInt;

/**
 * How a command ended.
 *
 * @param exitCode the status, 128 plus the signal, or 124 when its time was up
 * @param signal present when a signal ended it
 * @param guestPid present for a command left in the background
 */
public record ExitStatus(
    int exitCode, OptionalInt signal, boolean timedOut, OptionalInt guestPid) {}
