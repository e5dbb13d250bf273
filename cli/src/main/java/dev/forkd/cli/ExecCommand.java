package dev.forkd.cli;

import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import picocli.CommandLine.Command;
import picocli.CommandLine.Parameters;

/** Runs a command in a sandbox. */
@Command(name = "exec", description = "run a command in a sandbox; exits with the command's status")
final class ExecCommand extends GuestExec {
  @Parameters(index = "0", paramLabel = "ID", description = "the sandbox")
  private String id;

  @Override
  Sandbox sandbox(Forkd forkd) {
    return forkd.sandbox(id);
  }
}
