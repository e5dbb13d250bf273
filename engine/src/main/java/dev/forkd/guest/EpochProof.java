package dev.forkd.guest;

import java.util.Optional;

/**
 * What the guest answers to a new epoch. All of it comes from a hostile source and is to be
 * checked.
 *
 * @param random fresh bytes of the guest kernel's generator
 * @param clockNanos guest time when it answered
 * @param interpreter fresh bytes of the warm interpreter's own generator; empty without one
 * @param reseeded the kernel took the entropy
 */
@SuppressWarnings("ArrayRecordComponent")
public record EpochProof(
    long epoch,
    byte[] random,
    long clockNanos,
    String hostname,
    String machineId,
    Optional<byte[]> interpreter,
    boolean reseeded) {}
