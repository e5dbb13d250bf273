package dev.forkd.cli;

import dev.forkd.api.rest.Json;
import dev.forkd.sdk.Forkd;
import java.io.PrintWriter;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** What the commands that talk to a daemon share. */
@Command(mixinStandardHelpOptions = true)
abstract class DaemonCommand implements Callable<Integer> {
  @CommandLine.Mixin private Connection connection;
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public final Integer call() throws Exception {
    try (Forkd forkd = connection.open(err())) {
      return run(forkd);
    } finally {
      out().flush();
      err().flush();
    }
  }

  /** Does it; returns the exit status. */
  abstract int run(Forkd forkd) throws Exception;

  final DataDir dataDir() {
    return connection.dataDir();
  }

  /** For results. */
  final PrintWriter out() {
    return spec.commandLine().getOut();
  }

  /** For progress and errors. */
  final PrintWriter err() {
    return spec.commandLine().getErr();
  }

  /** One JSON value on one line. */
  final void printJson(Object message) {
    out().println(Json.text(message));
  }

  final CommandLine.ParameterException usage(String message) {
    return new CommandLine.ParameterException(spec.commandLine(), message);
  }
}
