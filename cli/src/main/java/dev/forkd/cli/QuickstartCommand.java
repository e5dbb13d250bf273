package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.HostPackage;
import dev.forkd.api.HostPackages;
import dev.forkd.api.rest.Json;
import dev.forkd.sdk.Forkd;
import java.io.Console;
import java.io.PrintWriter;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * From an empty machine to grandchildren: installs what is missing, unless a daemon was named,
 * builds the template, then {@link Quickstart} shows what forkd does.
 */
@Command(
    name = "quickstart",
    description = "set everything up and fork, branch and fork again before your eyes",
    mixinStandardHelpOptions = true)
final class QuickstartCommand implements Callable<Integer> {
  @Option(names = "-n", paramLabel = "N", description = "children, 1 to 1000 (${DEFAULT-VALUE})")
  private int children = 10;

  @Option(names = "--yes", description = "install what is missing without asking")
  private boolean yes;

  @Option(names = "--json", description = "print the steps and their times as JSON at the end")
  private boolean json;

  @CommandLine.Mixin private Connection connection;
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public Integer call() {
    if (children < 1 || children > 1000) {
      throw new CommandLine.ParameterException(
          spec.commandLine(), "-n " + children + " is not between 1 and 1000");
    }
    PrintWriter out = spec.commandLine().getOut();
    PrintWriter err = spec.commandLine().getErr();
    try {
      Quickstart quickstart = new Quickstart(children, json ? err : out, err);
      if (connection.environment().getOrDefault("FORKD_URL", "").isEmpty()) {
        // A daemon that was named has what it needs, wherever it runs.
        quickstart.step("host packages", () -> installMissing(err));
      }
      try (Forkd forkd =
          quickstart.step("daemon", () -> new Quickstart.Done<>(connection.open(err), ""))) {
        quickstart.run(forkd);
      }
      if (json) {
        out.println(Json.text(quickstart.steps()));
      }
      return 0;
    } finally {
      out.flush();
    }
  }

  private Quickstart.Done<Integer> installMissing(PrintWriter err) {
    HostPackages packages = HostPackages.ofThisHost(System.getenv());
    List<HostPackage> missing = packages.missing();
    if (!missing.isEmpty()) {
      String names = missing.stream().map(HostPackage::name).collect(Collectors.joining(" "));
      err.println("==> this host misses " + names);
      packages.install(missing, line -> agreed(line, err), line -> err.println("    " + line));
    }
    return new Quickstart.Done<>(missing.size(), "");
  }

  private boolean agreed(String commandLine, PrintWriter err) {
    if (yes) {
      return true;
    }
    Console console = java.util.Objects.requireNonNull(System.console());
    if (!console.isTerminal()) {
      throw new ForkdException(
          ErrorCode.CANCELLED,
          "nobody is there to agree to '" + commandLine + "': run it, or forkd quickstart --yes");
    }
    err.print("Run '" + commandLine + "'? [y/N] ");
    err.flush();
    String answer = console.readLine();
    return answer != null && answer.strip().toLowerCase(java.util.Locale.ROOT).startsWith("y");
  }
}
