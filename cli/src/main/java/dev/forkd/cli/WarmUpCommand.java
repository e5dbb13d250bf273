package dev.forkd.cli;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/**
 * Walks through what most commands use, so that the launcher can record the loaded classes in an
 * AOT cache. It touches neither the network nor the disk.
 */
@Command(name = "warm-up", hidden = true)
final class WarmUpCommand implements Callable<Integer> {
  @Override
  public Integer call() {
    CommandLine commandLine = Main.commandLine();
    PrintWriter nowhere = new PrintWriter(new StringWriter());
    commandLine.setOut(nowhere).setErr(nowhere);
    commandLine.execute("--version");
    commandLine.execute("--help");
    for (String name : commandLine.getSubcommands().keySet()) {
      commandLine.execute(name, "--help");
    }
    nowhere.print(new Table("ID", ">MEMORY").row("sb0", Format.bytes(1 << 20)).render());
    nowhere.print(LineageTree.render(List.of(new LineageTree.Node("a", Optional.empty(), "a"))));
    DoctorCommand.renderJson(List.of(Check.pass("a", "b", "c")));
    return 0;
  }
}
