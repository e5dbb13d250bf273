package dev.forkd.cli;

import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.sdk.Forkd;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Makes of a chain one snapshot that stands alone. */
@Command(
    name = "snapshot-compact",
    description = "make of a snapshot one with flat memory that needs none of its ancestors")
final class SnapshotCompactCommand extends DaemonCommand {
  @Option(names = "--from", required = true, paramLabel = "TAG", description = "what to compact")
  private String from = "";

  @Option(names = "--to", required = true, paramLabel = "NEW", description = "the new snapshot")
  private String to = "";

  @Option(names = "--json", description = "print the snapshot as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    SnapshotInfo made = forkd.snapshot(from).compact(to).info();
    if (json) {
      printJson(made);
    } else {
      out().println("tag: " + made.tag());
      out().println("dir: " + made.dir());
      out().println("lineage: " + made.branchedFrom().orElse("compact:" + from));
    }
    return 0;
  }
}
