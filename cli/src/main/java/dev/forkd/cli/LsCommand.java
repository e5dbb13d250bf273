package dev.forkd.cli;

import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.sdk.Forkd;
import java.time.Instant;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Lists sandboxes. */
@Command(name = "ls", description = "list the sandboxes")
final class LsCommand extends DaemonCommand {
  @Option(names = "--json", description = "print them as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    List<SandboxInfo> sandboxes = Sandboxes.of(forkd);
    if (json) {
      printJson(sandboxes);
    } else {
      out().print(render(sandboxes, Instant.now().getEpochSecond()));
    }
    return 0;
  }

  static String render(List<SandboxInfo> sandboxes, long nowUnix) {
    Table table =
        new Table(
            "ID", "SNAPSHOT", "STATE", "ISOLATION", ">PID", ">OWN MEMORY", ">BRANCHES", "AGE");
    for (SandboxInfo sandbox : sandboxes) {
      table.row(
          sandbox.id(),
          sandbox.snapshotTag(),
          sandbox.state(),
          sandbox.isolation(),
          sandbox.pid().isPresent() ? sandbox.pid().getAsInt() : "-",
          sandbox.divergedBytes().isPresent()
              ? Format.bytes(sandbox.divergedBytes().getAsLong())
              : "-",
          sandbox.branchCount(),
          Format.age(sandbox.createdAtUnix(), nowUnix));
    }
    return table.render();
  }
}
