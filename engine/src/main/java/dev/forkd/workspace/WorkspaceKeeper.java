package dev.forkd.workspace;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.WorkspaceName;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.WorkspaceSpec;
import dev.forkd.engine.WorkspaceView;
import dev.forkd.engine.Workspaces;
import dev.forkd.fault.FaultPoint;
import dev.forkd.state.StateStore;
import dev.forkd.state.WorkspaceRow;
import dev.forkd.state.WorkspaceState;
import java.time.InstantSource;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/**
 * Keeps workspaces. Each change of one is a row whose state is written before the first side effect
 * and changed after the last. What was saved replaces its predecessor by one write to the row; only
 * then are the predecessor and the sandbox removed. So at every moment the row names a sandbox that
 * lives or a state that is whole, and {@link #recover} can go on from wherever a process ended.
 *
 * <p>Thread-safe: of two changes to one workspace at once the second is refused.
 */
public final class WorkspaceKeeper implements Workspaces, AutoCloseable {
  private static final System.Logger LOG = System.getLogger(WorkspaceKeeper.class.getName());

  private final StateStore store;
  private final WorkspaceHost host;
  private final InstantSource clock;
  private final FaultPoint fault;
  private final WorkspaceViews views;
  private final WorkspaceEndings endings;

  /** What is being done to which workspace now. */
  private final Map<WorkspaceName, String> underWay = new ConcurrentHashMap<>();

  private volatile boolean closed;

  public WorkspaceKeeper(
      StateStore store, WorkspaceHost host, InstantSource clock, FaultPoint fault) {
    this.store = store;
    this.host = host;
    this.clock = clock;
    this.fault = fault;
    this.views = new WorkspaceViews(host);
    this.endings = new WorkspaceEndings(store, host, fault);
  }

  @Override
  public List<WorkspaceView> list() {
    return store.listWorkspaces().stream()
        .filter(WorkspaceKeeper::isVisible)
        .map(views::view)
        .toList();
  }

  @Override
  public WorkspaceView get(WorkspaceName name) {
    return views.view(require(name));
  }

  @Override
  public WorkspaceView create(WorkspaceSpec spec) {
    WorkspaceName name = spec.name();
    try (Turn _ = turn(name, "created")) {
      store
          .findWorkspace(name.value())
          .ifPresent(_ -> {
            throw new ForkdException(
                ErrorCode.ALREADY_EXISTS,
                "workspace '" + name + "' exists already; take another name or delete it first");
          });
      try {
        return views.view(
            start(
                "workspace.create",
                spec.snapshot(),
                spec.memoryLimitMib(),
                (tx, id) ->
                    tx.insertWorkspace(
                        WorkspaceRow.creating(
                            name.value(),
                            spec.snapshot().value(),
                            id.value(),
                            spec.memoryLimitMib().isPresent()
                                ? Optional.of(Math.toIntExact(spec.memoryLimitMib().getAsLong()))
                                : Optional.empty(),
                            clock.millis())),
                name));
      } catch (RuntimeException e) {
        undo(e, () -> store.deleteWorkspace(name.value()));
        throw e;
      }
    }
  }

  @Override
  public WorkspaceView resume(WorkspaceName name) {
    try (Turn _ = turn(name, "resumed")) {
      WorkspaceRow row = settled(require(name));
      if (views.status(row) == WorkspaceView.Status.RUNNING) {
        throw already(
            WorkspaceView.Status.RUNNING,
            "workspace '" + name + "' runs already, in sandbox " + row.sandboxId().orElse("?"));
      }
      // Asked after the sandbox was: one that this process lets go of looks as if it had failed.
      requireOpen(name, "resumed");
      WorkspaceRow resumed;
      try {
        resumed =
            start(
                "workspace.resume",
                new Tag(row.stateTag().orElse(row.sourceTag())),
                WorkspaceViews.limit(row),
                (tx, id) -> tx.updateWorkspace(row.resuming(id.value())),
                name);
      } catch (RuntimeException e) {
        undo(e, () -> store.updateWorkspace(row));
        throw e;
      }
      // The one that failed was kept to be looked at until there was another.
      row.sandboxId().ifPresent(endings::killQuietly);
      return views.view(resumed);
    }
  }

  private WorkspaceRow start(
      String step,
      Tag snapshot,
      OptionalLong memoryLimitMib,
      WorkspaceHost.Claim claim,
      WorkspaceName name) {
    SandboxId id =
        host.fork(
            snapshot,
            memoryLimitMib,
            (tx, claimed) -> {
              fault.reach(step + ".claiming");
              claim.claim(tx, claimed);
            });
    fault.reach(step + ".forked");
    try {
      WorkspaceRow started = save(require(name.value()).started(clock.millis()));
      fault.reach(step + ".done");
      return started;
    } catch (RuntimeException e) {
      undo(e, () -> host.kill(id));
      throw e;
    }
  }

  @Override
  public WorkspaceView suspend(WorkspaceName name, boolean diff) {
    try (Turn _ = turn(name, "suspended")) {
      WorkspaceRow row = settled(require(name));
      try (WorkspaceHost.Hold hold = host.hold(running(name, row))) {
        return newState(name, row, tag -> hold.save(tag, diff));
      }
    }
  }

  /** Gives it another state; until that is durable it has the one it had. */
  private WorkspaceView newState(WorkspaceName name, WorkspaceRow row, Consumer<Tag> making) {
    Staged staged = stage(name, row);
    WorkspaceRow suspending = save(row.suspending(staged.tag().value(), staged.generation()));
    fault.reach("workspace.suspend.begun");
    try {
      making.accept(staged.tag());
    } catch (RuntimeException e) {
      undo(e, () -> store.updateWorkspace(suspending.notSuspended()));
      throw e;
    }
    fault.reach("workspace.suspend.saved");
    WorkspaceRow saved;
    try {
      saved = save(suspending.saved(clock.millis()));
    } catch (RuntimeException e) {
      undo(
          e,
          () -> {
            // In this order: while the row may name what was staged, that stays.
            store.updateWorkspace(suspending.notSuspended());
            host.remove(staged.tag());
          });
      throw e;
    }
    fault.reach("workspace.suspend.switched");
    return views.view(settleIfPossible(saved));
  }

  @Override
  public WorkspaceView reboot(WorkspaceName name) {
    try (Turn _ = turn(name, "booted")) {
      WorkspaceRow row = settled(require(name));
      if (views.status(row) != WorkspaceView.Status.SUSPENDED) {
        throw already(
            views.status(row),
            "workspace '" + name + "' is not suspended; only what nobody uses can be booted anew");
      }
      Tag from = new Tag(row.stateTag().orElse(row.sourceTag()));
      return newState(name, row, tag -> host.reboot(from, tag));
    }
  }

  @Override
  public WorkspaceView discard(WorkspaceName name) {
    try (Turn _ = turn(name, "put back")) {
      WorkspaceRow row = settled(require(name));
      if (row.sandboxId().isEmpty()) {
        return views.view(row);
      }
      WorkspaceRow discarding = save(row.discarding());
      fault.reach("workspace.discard.begun");
      return views.view(endings.settle(discarding));
    }
  }

  /** A free tag and the generation it belongs to. */
  private record Staged(Tag tag, long generation) {}

  private Staged stage(WorkspaceName name, WorkspaceRow row) {
    long generation = row.generation() + 1;
    Tag tag = StateTags.of(name, generation);
    while (host.snapshot(tag).isPresent()) {
      generation++;
      tag = StateTags.of(name, generation);
    }
    return new Staged(tag, generation);
  }

  private SandboxId running(WorkspaceName name, WorkspaceRow row) {
    return switch (views.status(row)) {
      case RUNNING -> new SandboxId(row.sandboxId().orElseThrow());
      case SUSPENDED ->
          throw already(
              WorkspaceView.Status.SUSPENDED,
              "workspace '" + name + "' is not running: it is suspended already");
      case STALE ->
          throw new ForkdException(
              ErrorCode.NOT_FOUND,
              "sandbox "
                  + row.sandboxId().orElse("?")
                  + " of workspace '"
                  + name
                  + "' was killed or has failed, so there is nothing to save; resume the workspace"
                  + " to go on from "
                  + row.stateTag()
                      .map(tag -> "its last state '" + tag + "'")
                      .orElse("its source '" + row.sourceTag() + "'"));
    };
  }

  private static ForkdException already(WorkspaceView.Status status, String message) {
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION, message, Map.of(STATUS, status.name()), null);
  }

  @Override
  public void delete(WorkspaceName name) {
    try (Turn _ = turn(name, "deleted")) {
      WorkspaceRow row =
          store.findWorkspace(name.value()).orElseThrow(() -> notFound(name.value()));
      endings.delete(save(row.deleting()));
    }
  }

  /**
   * Deletes a snapshot, unless it is the state of a workspace and that is not what the caller knows
   * he does.
   *
   * @param deletion the deletion itself
   */
  public void deletingSnapshot(Tag tag, DeleteMode mode, Runnable deletion) {
    Optional<WorkspaceRow> owner = ownerOf(tag);
    if (owner.isEmpty() || mode != DeleteMode.FORCE) {
      requireNoState(tag);
      deletion.run();
      return;
    }
    try (Turn _ = turn(new WorkspaceName(owner.get().name()), "deprived of its state")) {
      ownerOf(tag)
          .filter(row -> row.state() != WorkspaceState.DELETING)
          .ifPresent(row -> save(settled(row).withoutState()));
      deletion.run();
    }
  }

  /**
   * @throws ForkdException FAILED_PRECONDITION when the snapshot is the state of a workspace
   */
  public void requireNoState(Tag tag) {
    ownerOf(tag)
        .ifPresent(row -> {
          throw new ForkdException(
              ErrorCode.FAILED_PRECONDITION,
              "snapshot '"
                  + tag
                  + "' is the saved state of workspace '"
                  + row.name()
                  + "'; delete the workspace (DELETE /v1/workspaces/"
                  + row.name()
                  + "), or the state alone with ?force=true: then the workspace is resumed from '"
                  + row.sourceTag()
                  + "'");
        });
  }

  private Optional<WorkspaceRow> ownerOf(Tag tag) {
    Optional<String> wanted = Optional.of(tag.value());
    return store.listWorkspaces().stream()
        .filter(row -> row.stateTag().equals(wanted) || row.stagedTag().equals(wanted))
        .findFirst();
  }

  /**
   * Finishes or undoes what a former process left half done. Call once, when its sandboxes are
   * adopted or gone and its snapshots are settled.
   *
   * @return what was done, for people
   */
  public List<String> recover() {
    return new WorkspaceRecovery(store, host, views, endings, clock).run();
  }

  /** The row, with what an earlier suspension could not remove gone. */
  private WorkspaceRow settled(WorkspaceRow row) {
    return row.state() == WorkspaceState.SETTLING ? endings.settle(row) : row;
  }

  /** The state is saved and the row says so: what cannot be removed now is no failure of that. */
  private WorkspaceRow settleIfPossible(WorkspaceRow row) {
    try {
      return endings.settle(row);
    } catch (ForkdException e) {
      LOG.log(
          System.Logger.Level.WARNING,
          "workspace {0} is saved, but not all it had is removed: {1}",
          row.name(),
          e.message());
      return row;
    }
  }

  private static void undo(RuntimeException cause, Runnable undo) {
    try {
      undo.run();
    } catch (RuntimeException e) {
      // What is left is found by the next start.
      cause.addSuppressed(e);
    }
  }

  private WorkspaceRow save(WorkspaceRow row) {
    store.updateWorkspace(row);
    return row;
  }

  private WorkspaceRow require(WorkspaceName name) {
    return store
        .findWorkspace(name.value())
        .filter(WorkspaceKeeper::isVisible)
        .orElseThrow(() -> notFound(name.value()));
  }

  private WorkspaceRow require(String name) {
    return store.findWorkspace(name).orElseThrow(() -> notFound(name));
  }

  private static boolean isVisible(WorkspaceRow row) {
    return row.state() != WorkspaceState.CREATING && row.state() != WorkspaceState.DELETING;
  }

  private static ForkdException notFound(String name) {
    return new ForkdException(
        ErrorCode.NOT_FOUND,
        "workspace '" + name + "' does not exist; forkd workspace ls lists those that do");
  }

  /** The right to change one workspace. */
  private final class Turn implements AutoCloseable {
    private final WorkspaceName name;

    private Turn(WorkspaceName name) {
      this.name = name;
    }

    @Override
    public void close() {
      underWay.remove(name);
    }
  }

  /**
   * @param what is done to it, as a participle
   */
  private Turn turn(WorkspaceName name, String what) {
    requireOpen(name, what);
    String other = underWay.putIfAbsent(name, what);
    if (other != null) {
      throw new ForkdException(
          ErrorCode.ABORTED,
          "workspace '" + name + "' cannot be " + what + " while it is being " + other);
    }
    return new Turn(name);
  }

  private void requireOpen(WorkspaceName name, String what) {
    if (closed) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE,
          "workspace '"
              + name
              + "' cannot be "
              + what
              + ": the daemon is stopping; try again when it runs");
    }
  }

  /**
   * Begins no more changes, which are UNAVAILABLE from now on. Ends no sandbox: they go on, and the
   * next process takes them up. Call before sandboxes are let go of.
   */
  @Override
  public void close() {
    closed = true;
  }
}
