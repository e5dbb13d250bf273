package dev.forkd.cli;

import dev.forkd.api.ForkdException;
import dev.forkd.api.ForkdVersion;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.Objects;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/**
 * The command line. Results go to stdout, progress and errors to stderr. Exit status: 0 success, 1
 * any failure, 2 wrong usage; {@code exec} passes on the guest's.
 */
@Command(
    name = "forkd",
    description = "fork(2) for microVMs",
    mixinStandardHelpOptions = true,
    versionProvider = Main.Version.class,
    synopsisSubcommandLabel = "COMMAND",
    footer = {
      "",
      "Settings in the environment, for all commands:",
      "  FORKD_DATA_DIR  where everything is kept ($XDG_DATA_HOME/forkd or ~/.local/share/forkd)",
      "  FORKD_URL       the daemon to talk to; otherwise the one of the data directory",
      "  FORKD_TOKEN     its token; otherwise the one in the data directory, for this host only",
      "  FORKD_CA_FILE   PEM file of the authorities to trust where FORKD_URL is https",
      "What the daemon itself is told: forkd serve --help"
    },
    subcommands = {
      QuickstartCommand.class,
      ServeCommand.class,
      DoctorCommand.class,
      TemplateCommand.class,
      SnapshotCommand.class,
      SnapshotDiffCommand.class,
      SnapshotInfoCommand.class,
      SnapshotCompactCommand.class,
      ForkCommand.class,
      LsCommand.class,
      PsCommand.class,
      ExecCommand.class,
      EvalCommand.class,
      CpCommand.class,
      BranchCommand.class,
      PoolCommand.class,
      WorkspaceCommand.class,
      TreeCommand.class,
      E2bCommand.class,
      ImagesCommand.class,
      RmiCommand.class,
      KillCommand.class,
      BenchCommand.class,
      CompletionCommand.class,
      WarmUpCommand.class
    })
public final class Main implements Runnable {
  /** Any failure. */
  static final int FAILURE = 1;

  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  /** Prints what {@code --version} shows. */
  static final class Version implements CommandLine.IVersionProvider {
    @Override
    public String[] getVersion() {
      return new String[] {"forkd " + ForkdVersion.CURRENT};
    }
  }

  @Override
  public void run() {
    throw new CommandLine.ParameterException(spec.commandLine(), "which command?");
  }

  public static void main(String[] arguments) {
    System.exit(commandLine().execute(arguments));
  }

  /** The parser with every command; tests use it as it is. */
  static CommandLine commandLine() {
    CommandLine root = new CommandLine(new Main());
    // What follows the sandbox is the guest's: `forkd exec ID ls -la` needs no `--`.
    subcommand(root, "exec").setStopAtPositional(true);
    subcommand(root, "eval").setUnmatchedOptionsArePositionalParams(true);
    CommandLine workspace = subcommand(root, "workspace");
    subcommand(workspace, "exec").setStopAtPositional(true);
    subcommand(workspace, "eval").setUnmatchedOptionsArePositionalParams(true);
    return root.setOut(new PrintWriter(System.out, true, StandardCharsets.UTF_8))
        .setErr(new PrintWriter(System.err, true, StandardCharsets.UTF_8))
        .setExpandAtFiles(false)
        .setCaseInsensitiveEnumValuesAllowed(true)
        .setExecutionExceptionHandler(
            (failure, commandLine, _) -> report(failure, commandLine.getErr()));
  }

  private static CommandLine subcommand(CommandLine root, String name) {
    return Objects.requireNonNull(root.getSubcommands().get(name), name);
  }

  /** One line for people; the causes only where the failure is a defect of ours. */
  static int report(Exception failure, PrintWriter err) {
    if (failure instanceof ForkdException known) {
      err.println("Error: " + known.message());
      return known.code().exitCode();
    }
    if (failure instanceof InterruptedException) {
      Thread.currentThread().interrupt();
    }
    err.println("Error: " + failure);
    for (Throwable cause = failure.getCause(); cause != null; cause = cause.getCause()) {
      err.println("  caused by: " + cause);
    }
    return FAILURE;
  }
}
