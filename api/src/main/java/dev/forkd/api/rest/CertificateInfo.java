package dev.forkd.api.rest;

import java.util.Optional;
import java.util.OptionalLong;

/**
 * Proof that a child is not its siblings' twin.
 *
 * @param state {@code pending} until the first resume, then {@code verified} or {@code failed}
 * @param clockOffsetMs guest clock minus host clock when it was checked, as well as that can be
 *     known
 * @param clockErrorMaxMs the most by which the two can have differed then; at most 50
 */
public record CertificateInfo(
    String state,
    Optional<String> epoch,
    Optional<String> hostname,
    Optional<String> machineId,
    Optional<String> randomSha256,
    Optional<String> interpreterSha256,
    OptionalLong clockOffsetMs,
    OptionalLong clockErrorMaxMs,
    OptionalLong handshakeMs,
    OptionalLong verifiedAtUnixMs,
    Optional<String> failure) {
  public CertificateInfo {
    state = state == null ? "pending" : state;
  }
}
