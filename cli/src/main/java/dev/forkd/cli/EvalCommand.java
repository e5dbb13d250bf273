package dev.forkd.cli;

import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;

/** Evaluates code in a sandbox. */
@Command(name = "eval", description = "evaluate code in a sandbox's warm interpreter")
final class EvalCommand extends GuestEval {
  @Parameters(index = "0", paramLabel = "ID", description = "the sandbox")
  private String id;

  @Override
  Sandbox sandbox(Forkd forkd) {
    return forkd.sandbox(id);
  }
}
