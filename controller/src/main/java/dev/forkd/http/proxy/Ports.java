package dev.forkd.http.proxy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.PortConnection;
import dev.forkd.http.Cut;
import dev.forkd.http.envd.Guest;
import java.time.Duration;

/** Connects to one port of a guest. */
record Ports(Guest guest, Address address, Cut cut) {
  /** A server that was just started may need a moment. */
  private static final Duration PATIENCE = Duration.ofMillis(1500);

  private static final Duration FIRST_PAUSE = Duration.ofMillis(50);

  int port() {
    return address.port();
  }

  /**
   * Connects.
   *
   * @throws ClosedPortException when nothing listens there
   */
  PortConnection connect() {
    long deadlineNanos = System.nanoTime() + PATIENCE.toNanos();
    Duration pause = FIRST_PAUSE;
    while (true) {
      cut.check();
      try {
        return guest.engine().ports(guest.sandbox()).connect(address.port());
      } catch (ForkdException e) {
        if (e.code() != ErrorCode.NOT_FOUND) {
          throw e;
        }
        if (System.nanoTime() + pause.toNanos() > deadlineNanos) {
          cut.check();
          throw new ClosedPortException(address, e);
        }
      }
      sleep(pause);
      pause = pause.multipliedBy(2);
    }
  }

  private static void sleep(Duration pause) {
    try {
      Thread.sleep(pause);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "the daemon is stopping", e);
    }
  }
}
