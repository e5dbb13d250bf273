package dev.forkd.cli;

import java.util.concurrent.Callable;
import picocli.AutoComplete;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** Prints a completion script. */
@Command(
    name = "completion",
    description = "print a completion script: source <(forkd completion), for bash and zsh",
    mixinStandardHelpOptions = true)
final class CompletionCommand implements Callable<Integer> {
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public Integer call() {
    CommandLine root = spec.root().commandLine();
    spec.commandLine().getOut().println(AutoComplete.bash(spec.root().name(), root));
    return 0;
  }
}
