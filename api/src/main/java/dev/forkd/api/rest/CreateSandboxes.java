package dev.forkd.api.rest;

import java.util.Optional;
import java.util.OptionalLong;

/**
 * Body of {@code POST /v1/sandboxes}.
 *
 * @param n children, 1 to 1000; 1 when absent
 * @param partial keep those that started when others failed, and answer {@link ChildResult}s
 * @param certify verify each child before it is answered
 * @param minIsolation {@code kvm} to refuse emulation
 */
public record CreateSandboxes(
    String snapshotTag,
    OptionalLong n,
    boolean perChildNetns,
    OptionalLong memoryLimitMib,
    boolean prewarm,
    boolean partial,
    boolean certify,
    Optional<String> minIsolation) {
  public CreateSandboxes {
    snapshotTag = Wire.text(snapshotTag, "snapshot_tag");
  }
}
