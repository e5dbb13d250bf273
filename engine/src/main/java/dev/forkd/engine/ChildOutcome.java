package dev.forkd.engine;

import dev.forkd.api.ErrorCode;

/** What became of one child of a fork. A fork of N yields N of these, in request order. */
public sealed interface ChildOutcome {
  record Started(SandboxView sandbox) implements ChildOutcome {}

  record Failed(ErrorCode code, String message) implements ChildOutcome {}
}
