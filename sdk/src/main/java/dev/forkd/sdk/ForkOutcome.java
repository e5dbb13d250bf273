package dev.forkd.sdk;

import dev.forkd.api.ErrorCode;

/** What became of one child of {@link Snapshot#forkPartially}. */
public sealed interface ForkOutcome {
  record Started(Sandbox sandbox) implements ForkOutcome {}

  record Failed(ErrorCode code, String message) implements ForkOutcome {}
}
