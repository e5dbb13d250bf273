package dev.forkd.workspace;

import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.state.StateStore;
import dev.forkd.state.WorkspaceRow;
import java.time.InstantSource;
import java.util.List;
import java.util.Optional;

/** What becomes of workspaces that a former process left in the middle of a change. */
record WorkspaceRecovery(
    StateStore store,
    WorkspaceHost host,
    WorkspaceViews views,
    WorkspaceEndings endings,
    InstantSource clock) {

  /** What was finished or undone, for people. */
  List<String> run() {
    return store.listWorkspaces().stream().flatMap(row -> recovered(row).stream()).toList();
  }

  private Optional<String> recovered(WorkspaceRow row) {
    try {
      return recover(row).map(what -> what + " of workspace " + row.name());
    } catch (ForkdException e) {
      // It is tried again by the next request that needs it, and by the next start.
      return Optional.of(
          "not yet: workspace " + row.name() + ", " + row.state() + ": " + e.message());
    }
  }

  private Optional<String> recover(WorkspaceRow row) {
    return switch (row.state()) {
      case RUNNING, SUSPENDED -> Optional.empty();
      case CREATING -> {
        if (finishStart(row)) {
          yield Optional.of("finished: creation");
        }
        store.deleteWorkspace(row.name());
        yield Optional.of("undone: creation");
      }
      case RESUMING -> {
        if (finishStart(row)) {
          yield Optional.of("finished: resumption");
        }
        store.updateWorkspace(row.notResumed());
        yield Optional.of("undone: resumption");
      }
      case SUSPENDING -> {
        Optional<WorkspaceHost.Saved> staged = staged(row);
        // Nobody was answered anything since the sandbox was saved, so finishing loses nothing; and
        // when the sandbox did not survive, this is all there is.
        if (staged.filter(WorkspaceHost.Saved::usable).isPresent()) {
          WorkspaceRow saved = row.saved(clock.millis());
          store.updateWorkspace(saved);
          endings.settle(saved);
          yield Optional.of("finished: suspension");
        }
        store.updateWorkspace(row.notSuspended());
        staged.ifPresent(unusable -> host.remove(unusable.tag()));
        yield Optional.of("undone: suspension");
      }
      case SETTLING -> {
        endings.settle(row);
        yield Optional.of("finished: suspension");
      }
      case DELETING -> {
        endings.delete(row);
        yield Optional.of("finished: deletion");
      }
    };
  }

  private boolean finishStart(WorkspaceRow row) {
    if (views.living(row.nextSandboxId()).isEmpty()) {
      return false;
    }
    store.updateWorkspace(row.started(clock.millis()));
    return true;
  }

  /** What the workspace's sandbox was saved as; not what others may have put under that tag. */
  private Optional<WorkspaceHost.Saved> staged(WorkspaceRow row) {
    return row.stagedTag()
        .flatMap(tag -> host.snapshot(new Tag(tag)))
        .filter(found -> found.branchedFrom().map(SandboxId::value).equals(row.sandboxId()));
  }
}
