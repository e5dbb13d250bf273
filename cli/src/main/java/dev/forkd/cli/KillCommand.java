package dev.forkd.cli;

import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Ends sandboxes. */
@Command(name = "kill", description = "end sandboxes and free all they hold")
final class KillCommand extends DaemonCommand {
  @Parameters(arity = "0..*", paramLabel = "ID", description = "which")
  private List<String> ids = List.of();

  @Option(names = "--all", description = "every sandbox")
  private boolean all;

  @Option(names = "--tag", paramLabel = "TAG", description = "every child of this snapshot")
  private String tag = "";

  @Option(names = "--json", description = "print what became of each as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    int ways = (ids.isEmpty() ? 0 : 1) + (all ? 1 : 0) + (tag.isEmpty() ? 0 : 1);
    if (ways != 1) {
      throw usage("give ids, or --all, or --tag TAG");
    }
    List<String> chosen =
        ids.isEmpty()
            ? forkd.sandboxes().stream()
                .map(Sandbox::info)
                .filter(sandbox -> all || sandbox.snapshotTag().equals(tag))
                .map(SandboxInfo::id)
                .toList()
            : ids;
    Removals removals = new Removals();
    for (String id : chosen) {
      if (ids.isEmpty()) {
        removals.removeListed(id, () -> forkd.sandbox(id).kill());
      } else {
        removals.remove(id, () -> forkd.sandbox(id).kill());
      }
    }
    return removals.report(this, json);
  }
}
