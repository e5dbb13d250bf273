package dev.forkd.workspace;

import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.fault.FaultPoint;
import dev.forkd.state.StateStore;
import dev.forkd.state.WorkspaceRow;

/**
 * The second halves of suspensions and deletions: what is removed once the row says that it may be.
 * Each can be begun again from the row alone.
 */
record WorkspaceEndings(StateStore store, WorkspaceHost host, FaultPoint fault) {
  private static final System.Logger LOG = System.getLogger(WorkspaceEndings.class.getName());

  /** Removes what the new state has replaced: the sandbox and the former state. */
  WorkspaceRow settle(WorkspaceRow row) {
    row.sandboxId().ifPresent(id -> host.kill(new SandboxId(id)));
    fault.reach("workspace.suspend.killed");
    row.retiredTag().ifPresent(this::remove);
    fault.reach("workspace.suspend.removed");
    WorkspaceRow settled = row.settled();
    store.updateWorkspace(settled);
    fault.reach("workspace.suspend.done");
    return settled;
  }

  /** Removes all a workspace has, and its row last. */
  void delete(WorkspaceRow row) {
    fault.reach("workspace.delete.begun");
    row.sandboxId().ifPresent(id -> host.kill(new SandboxId(id)));
    row.nextSandboxId().ifPresent(id -> host.kill(new SandboxId(id)));
    fault.reach("workspace.delete.killed");
    row.stateTag().ifPresent(this::remove);
    row.stagedTag().ifPresent(this::remove);
    row.retiredTag().ifPresent(this::remove);
    fault.reach("workspace.delete.removed");
    store.deleteWorkspace(row.name());
  }

  private void remove(String tag) {
    if (!host.remove(new Tag(tag))) {
      LOG.log(
          System.Logger.Level.INFO,
          "snapshot {0} belongs to no workspace any more, but stays: others name it as parent",
          tag);
    }
  }

  /** Removes a sandbox that has failed. */
  void killQuietly(String id) {
    try {
      host.kill(new SandboxId(id));
    } catch (ForkdException e) {
      // The next start removes it.
      LOG.log(System.Logger.Level.WARNING, "removing failed sandbox {0}: {1}", id, e.message());
    }
  }
}
