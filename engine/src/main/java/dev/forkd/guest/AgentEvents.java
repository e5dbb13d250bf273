package dev.forkd.guest;

import dev.forkd.api.ForkdException;

/** What an agent tells unasked. Called on the channel's reader; must not block. */
public interface AgentEvents {
  /** The guest became idle or busy outside a request, or a request ended. */
  void changed();

  /** The channel cannot be used any more. */
  void lost(ForkdException why);
}
