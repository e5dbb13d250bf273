package dev.forkd.cli;

import dev.forkd.api.ForkdException;
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

  @Override
  int run(Forkd forkd) {
    int status = 0;
    for (String tag : tags) {
      try {
        Snapshot snapshot = forkd.snapshot(tag);
        if (dependents.cascade) {
          snapshot.deleteWithDependents();
        } else if (dependents.force) {
          snapshot.deleteAlone();
        } else {
          snapshot.delete();
        }
        out().println("✓ " + tag);
      } catch (ForkdException e) {
        err().println("✗ " + tag + ": " + e.message());
        status = Main.FAILURE;
      }
    }
    return status;
  }
}
