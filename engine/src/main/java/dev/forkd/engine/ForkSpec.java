package dev.forkd.engine;

import dev.forkd.api.Tag;
import java.util.OptionalLong;

/**
 * A fan-out.
 *
 * @param count children, 1 to {@value #MAX_COUNT}
 * @param memoryLimitMib hard limit on each child's host memory, enforced by cgroup
 * @param prewarm resume each child once, verify it and fault its pages in before it is handed out
 * @param certify verify each child's handshake before it is handed out
 * @param partial keep the children that started when others failed; otherwise all or nothing
 * @param minIsolation {@code kvm} to refuse emulation, else {@code emulation}
 */
public record ForkSpec(
    Tag snapshot,
    int count,
    OptionalLong memoryLimitMib,
    boolean prewarm,
    boolean certify,
    boolean partial,
    String minIsolation) {
  public static final int MAX_COUNT = 1000;
}
