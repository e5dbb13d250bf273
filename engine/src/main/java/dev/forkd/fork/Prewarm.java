package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.guest.GuestAgent;
import dev.forkd.guest.Rehearsals;
import java.time.Duration;
import java.util.List;

/**
 * Lets a child do once what it will be asked to do: its pages are faulted in, and under emulation
 * its code is translated, before somebody waits for it.
 */
final class Prewarm {
  private static final Duration TIMEOUT = Duration.ofSeconds(30);

  private Prewarm() {}

  static void run(GuestAgent agent, List<KnownTemplate.Rehearsal> rehearsals) {
    Rehearsals.run(agent, rehearsals);
    try {
      agent.eval("None", TIMEOUT);
    } catch (ForkdException e) {
      // An image without an interpreter has nothing to warm but its agent, which has answered.
      if (e.code() != ErrorCode.UNIMPLEMENTED) {
        throw e;
      }
    }
  }
}
