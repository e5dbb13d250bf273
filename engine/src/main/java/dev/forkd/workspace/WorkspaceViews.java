package dev.forkd.workspace;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.WorkspaceName;
import dev.forkd.engine.WorkspaceView;
import dev.forkd.state.WorkspaceRow;
import dev.forkd.state.WorkspaceState;
import java.util.Optional;
import java.util.OptionalLong;

/** Workspaces as seen from outside: their rows, and whether their sandboxes live. */
record WorkspaceViews(WorkspaceHost host) {

  /** The sandbox, if it is there and has not failed. */
  Optional<WorkspaceHost.Living> living(Optional<String> sandboxId) {
    return sandboxId.flatMap(id -> host.living(new SandboxId(id)));
  }

  WorkspaceView.Status status(WorkspaceRow row) {
    if (row.sandboxId().isEmpty() || row.state() == WorkspaceState.SETTLING) {
      return WorkspaceView.Status.SUSPENDED;
    }
    return living(row.sandboxId()).isPresent()
        ? WorkspaceView.Status.RUNNING
        : WorkspaceView.Status.STALE;
  }

  WorkspaceView view(WorkspaceRow row) {
    Optional<WorkspaceHost.Living> live =
        row.state() == WorkspaceState.SETTLING ? Optional.empty() : living(row.sandboxId());
    return new WorkspaceView(
        row.id(),
        new WorkspaceName(row.name()),
        new Tag(row.sourceTag()),
        row.stateTag().map(Tag::new),
        live.isPresent() ? WorkspaceView.Status.RUNNING : status(row),
        live.map(WorkspaceHost.Living::id),
        limit(row),
        row.createdUnixMillis() / 1000,
        row.activeUnixMillis() / 1000,
        live.isPresent()
            ? live.get().lastBranchMemoryPath()
            : row.stateTag()
                .flatMap(tag -> host.snapshot(new Tag(tag)))
                .map(WorkspaceHost.Saved::dir));
  }

  static OptionalLong limit(WorkspaceRow row) {
    return row.memoryLimitMib().isPresent()
        ? OptionalLong.of(row.memoryLimitMib().get())
        : OptionalLong.empty();
  }
}
