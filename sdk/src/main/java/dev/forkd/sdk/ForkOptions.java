package dev.forkd.sdk;

import dev.forkd.api.rest.CreateSandboxes;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * How to fork. Immutable; each method gives a changed copy.
 *
 * @param count children, 1 to 1000
 * @param memoryLimitMib hard limit on the host memory of each child
 * @param prewarm resume, verify and fault in each child before it is handed out
 * @param certify verify each child's certificate before it is handed out
 * @param kvmOnly refuse rather than run under software emulation
 */
public record ForkOptions(
    int count, OptionalLong memoryLimitMib, boolean prewarm, boolean certify, boolean kvmOnly) {
  /** {@code count} children without further wishes. */
  public static ForkOptions of(int count) {
    return new ForkOptions(count, OptionalLong.empty(), false, false, false);
  }

  public ForkOptions withMemoryLimitMib(long limitMib) {
    return new ForkOptions(count, OptionalLong.of(limitMib), prewarm, certify, kvmOnly);
  }

  public ForkOptions prewarmed() {
    return new ForkOptions(count, memoryLimitMib, true, certify, kvmOnly);
  }

  public ForkOptions certified() {
    return new ForkOptions(count, memoryLimitMib, prewarm, true, kvmOnly);
  }

  public ForkOptions withKvmOnly() {
    return new ForkOptions(count, memoryLimitMib, prewarm, certify, true);
  }

  CreateSandboxes wire(String tag, boolean partial) {
    return new CreateSandboxes(
        tag,
        OptionalLong.of(count),
        false,
        memoryLimitMib,
        prewarm,
        partial,
        certify,
        kvmOnly ? Optional.of("kvm") : Optional.empty());
  }
}
