package dev.forkd.cli;

import dev.forkd.sdk.Forkd;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** {@code e2b}: for programs that are written against E2B. */
@Command(
    name = "e2b",
    description = "what programs that are written against E2B need",
    mixinStandardHelpOptions = true,
    synopsisSubcommandLabel = "COMMAND",
    subcommands = E2bCommand.Env.class)
final class E2bCommand implements Runnable {
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public void run() {
    throw new CommandLine.ParameterException(spec.commandLine(), "which command?");
  }

  /** {@code e2b env}: where E2B's SDKs find this daemon. */
  @Command(
      name = "env",
      description = {
        "print the variables that point E2B's SDKs at this daemon",
        "use it as: eval \"$(forkd e2b env)\""
      })
  static final class Env extends DaemonCommand {
    @Override
    int run(Forkd forkd) {
      forkd.version();
      out().println("export E2B_API_URL=" + forkd.url());
      out().println("export E2B_SANDBOX_URL=" + forkd.url());
      out().println("export E2B_API_KEY=" + forkd.e2bApiKey());
      return 0;
    }
  }
}
