package dev.forkd.engine;

import java.util.Optional;
import java.util.OptionalLong;

/**
 * Proof that a child is not its siblings' twin: what its agent answered in the fork handshake and
 * what the host checked.
 *
 * @param state pending until the first resume
 * @param epoch names this fork; chosen by the host, echoed by the guest
 * @param randomSha256 SHA-256 of a fresh sample of the guest kernel's random bytes
 * @param interpreterSha256 SHA-256 of a fresh sample of the warm interpreter's random numbers
 * @param clockOffsetMillis guest clock minus host clock at the proof, as well as that can be known
 * @param clockErrorMaxMillis the most by which the two can have differed: what the message that set
 *     the clock, and the answer with its reading, took on their way; at most 50
 * @param handshakeMillis from the first byte sent to the verified proof
 * @param verifiedAtUnixMillis when the host accepted the proof
 */
public record Certificate(
    State state,
    Optional<String> epoch,
    Optional<String> hostname,
    Optional<String> machineId,
    Optional<String> randomSha256,
    Optional<String> interpreterSha256,
    OptionalLong clockOffsetMillis,
    OptionalLong clockErrorMaxMillis,
    OptionalLong handshakeMillis,
    OptionalLong verifiedAtUnixMillis,
    Optional<String> failure) {

  public enum State {
    PENDING,
    VERIFIED,
    FAILED
  }

  /** Of a child that proved nothing. */
  public static Certificate failed(String why) {
    return new Certificate(
        State.FAILED,
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        Optional.of(why));
  }

  /** A child that has not run yet. */
  public static Certificate pending() {
    return new Certificate(
        State.PENDING,
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        Optional.empty());
  }
}
