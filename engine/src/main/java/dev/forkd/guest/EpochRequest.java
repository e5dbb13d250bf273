package dev.forkd.guest;

/**
 * A new epoch for a child that was just restored.
 *
 * @param epoch its name; echoed in the proof
 * @param timeNanos host time, nanoseconds since 1970
 * @param entropy mixed into the guest kernel's random pool, 64 bytes
 * @param machineId 32 lower-case hexadecimal digits
 * @param nextToken what the agent listens for from now on to begin a new conversation, 32 bytes
 */
@SuppressWarnings("ArrayRecordComponent")
public record EpochRequest(
    long epoch,
    long timeNanos,
    byte[] entropy,
    String hostname,
    String machineId,
    byte[] nextToken) {}
