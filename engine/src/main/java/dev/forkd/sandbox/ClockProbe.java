package dev.forkd.sandbox;

import dev.forkd.guest.GuestAgent;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;

/** Asks a guest for its time. Thread-safe. */
final class ClockProbe {
  private final GuestAgent agent;

  /** Agents of older templates do not know the question: they are asked it once. */
  private volatile boolean unknown;

  ClockProbe(GuestAgent agent) {
    this.agent = agent;
  }

  /**
   * Reads the clock and leaves it as it is.
   *
   * @param timeout for the answer
   * @return empty from an agent that cannot tell
   */
  Optional<ClockReading> read(Duration timeout) {
    return ask(Handshake.unixNanos(), timeout);
  }

  /** Sets the clock, then reads it. */
  Optional<ClockReading> set(Duration timeout) {
    long now = Handshake.unixNanos();
    agent.clock(now);
    return ask(now, timeout);
  }

  private Optional<ClockReading> ask(long sent, Duration timeout) {
    if (unknown) {
      return Optional.empty();
    }
    OptionalLong guest = agent.askClock(timeout);
    if (guest.isEmpty()) {
      unknown = true;
      return Optional.empty();
    }
    return Optional.of(ClockReading.of(sent, guest.getAsLong(), Handshake.unixNanos()));
  }
}
