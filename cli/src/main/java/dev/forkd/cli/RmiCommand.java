package dev.forkd.cli;

import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Snapshot;
import java.util.List;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Removes snapshots. */
@Command(name = "rmi", description = "remove templates and snapshots")
final class RmiCommand extends DaemonCommand {
  @Parameters(arity = "1..*", paramLabel = "TAG", description = "what to remove")
  private List<String> tags;

  @ArgGroup private Dependents dependents = new Dependents();

  /** What becomes of snapshots that name a removed one as parent; refused when neither is given. */
  static final class Dependents {
    @Option(names = "--cascade", description = "remove the snapshots that depend on it as well")
    private boolean cascade;

    @Option(names = "--force", description = "leave those that depend on it without a parent")
    private boolean force;
  }

  @Option(names = "--json", description = "print what became of each as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    Removals removals = new Removals();
    for (String tag : tags) {
      removals.remove(tag, () -> delete(forkd.snapshot(tag)));
    }
    return removals.report(this, json);
  }

  private void delete(Snapshot snapshot) {
    if (dependents.cascade) {
      snapshot.deleteWithDependents();
    } else if (dependents.force) {
      snapshot.deleteAlone();
    } else {
      snapshot.delete();
    }
  }
}
