package dev.forkd.engine;

import dev.forkd.api.SandboxId;
import java.time.Instant;
import java.util.Optional;

/**
 * A hosted sandbox as seen from outside at one moment.
 *
 * @param id lowercase letters and digits
 * @param spec as it was made
 * @param accessToken what requests to it show, if it is secured
 * @param started when it was made or resumed last
 * @param end when it is killed, or paused; of a paused one, when it was paused
 * @param sandbox its sandbox at the moment; empty while it is paused
 * @param pausedDisk it is paused without its memory
 * @param cpuCount of its guest
 * @param memoryMib of its guest
 * @param diskMib of its guest
 */
public record HostedView(
    String id,
    HostedSpec spec,
    Optional<String> accessToken,
    Instant started,
    Instant end,
    Optional<SandboxId> sandbox,
    boolean pausedDisk,
    int cpuCount,
    int memoryMib,
    int diskMib) {

  public boolean paused() {
    return sandbox.isEmpty();
  }
}
