package dev.forkd.cli;

import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.sdk.Forkd;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/**
 * Walks through what most commands use, so that the launcher can record the loaded classes in an
 * AOT cache. It touches no disk, and of the network only a port of this host where nobody listens.
 */
@Command(name = "warm-up", hidden = true)
final class WarmUpCommand implements Callable<Integer> {
  private static final String SANDBOX =
      """
      {"id":"sb1","snapshot_tag":"a","pid":1,"diverged_bytes":1,"certificate":{"state":"verified"}}\
      """;

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
    SandboxInfo sandbox = Json.read(SANDBOX, SandboxInfo.class);
    nowhere.print(LsCommand.render(List.of(sandbox), 0));
    nowhere.print(PsCommand.render(sandbox));
    nowhere.print(Json.text(List.of(sandbox)));
    try (Forkd nobody = Forkd.connect("http://127.0.0.1:1", "none")) {
      nowhere.print(nobody.isHealthy());
    }
    DoctorCommand.renderJson(List.of(Check.pass("a", "b", "c")));
    return 0;
  }
}
