package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.WorkspaceName;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.ChildOutcome;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.ForkSpec;
import dev.forkd.engine.SandboxView;
import dev.forkd.engine.WorkspaceSpec;
import dev.forkd.engine.WorkspaceView;
import dev.forkd.engine.WorkspaceView.Status;
import dev.forkd.engine.Workspaces;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListMap;

/** Workspaces of a {@link FakeEngine}: rows in memory that keep the rules of the real ones. */
final class FakeWorkspaces implements Workspaces {
  private static final long NOW = 1_700_000_000L;
  private static final int LONGEST_IN_TAG = 48;

  /** For requests under way when a suspension begins, as the real ones have it. */
  private static final Duration PATIENCE = Duration.ofSeconds(10);

  private final FakeEngine engine;
  private final Map<WorkspaceName, Row> rows = new ConcurrentSkipListMap<>();
  private final Set<WorkspaceName> underWay = ConcurrentHashMap.newKeySet();

  private record Row(
      String id,
      WorkspaceSpec spec,
      Optional<SandboxId> sandbox,
      Optional<Tag> state,
      int generation) {}

  FakeWorkspaces(FakeEngine engine) {
    this.engine = engine;
  }

  @Override
  public List<WorkspaceView> list() {
    engine.mayFail();
    return rows.values().stream().map(this::view).toList();
  }

  @Override
  public WorkspaceView get(WorkspaceName name) {
    engine.mayFail();
    return view(row(name));
  }

  @Override
  public WorkspaceView create(WorkspaceSpec spec) {
    return alone(
        spec.name(),
        () -> {
          if (rows.containsKey(spec.name())) {
            throw new ForkdException(
                ErrorCode.ALREADY_EXISTS, "workspace '" + spec.name() + "' exists already");
          }
          SandboxId sandbox = fork(spec.snapshot(), spec.memoryLimitMib());
          return put(new Row("ws-" + sandbox, spec, Optional.of(sandbox), Optional.empty(), 0));
        });
  }

  @Override
  public WorkspaceView suspend(WorkspaceName name, boolean diff) {
    return alone(
        name,
        () -> {
          Row row = row(name);
          SandboxId sandbox =
              row.sandbox()
                  .orElseThrow(() ->
                      already(Status.SUSPENDED, "workspace '" + name + "' is suspended already"));
          if (living(row).isEmpty()) {
            throw new ForkdException(
                ErrorCode.NOT_FOUND, "the sandbox of workspace '" + name + "' was killed");
          }
          int generation = row.generation() + 1;
          Tag tag = stateTag(name, generation);
          engine.door(sandbox).shut(PATIENCE);
          try {
            engine.branch(
                sandbox,
                new BranchSpec(
                    Optional.of(tag),
                    diff ? BranchSpec.Mode.DIFF : BranchSpec.Mode.FULL,
                    Optional.empty()));
          } catch (RuntimeException e) {
            engine.door(sandbox).open();
            throw e;
          }
          WorkspaceView suspended =
              put(new Row(row.id(), row.spec(), Optional.empty(), Optional.of(tag), generation));
          row.state().ifPresent(old -> engine.deleteSnapshot(old, DeleteMode.FORCE));
          engine.kill(sandbox);
          return suspended;
        });
  }

  @Override
  public WorkspaceView resume(WorkspaceName name) {
    return alone(
        name,
        () -> {
          Row row = row(name);
          if (living(row).isPresent()) {
            throw already(Status.RUNNING, "workspace '" + name + "' runs already");
          }
          SandboxId sandbox =
              fork(row.state().orElse(row.spec().snapshot()), row.spec().memoryLimitMib());
          return put(
              new Row(row.id(), row.spec(), Optional.of(sandbox), row.state(), row.generation()));
        });
  }

  @Override
  public WorkspaceView reboot(WorkspaceName name) {
    return alone(
        name,
        () -> {
          Row row = row(name);
          if (row.sandbox().isPresent()) {
            throw already(Status.RUNNING, "workspace '" + name + "' is not suspended");
          }
          return view(row);
        });
  }

  @Override
  public WorkspaceView discard(WorkspaceName name) {
    return alone(
        name,
        () -> {
          Row row = row(name);
          row.sandbox().filter(_ -> living(row).isPresent()).ifPresent(engine::kill);
          return put(
              new Row(row.id(), row.spec(), Optional.empty(), row.state(), row.generation()));
        });
  }

  /** The real ones tell long names apart as well. */
  private static Tag stateTag(WorkspaceName name, int generation) {
    String shown = name.value().substring(0, Math.min(name.value().length(), LONGEST_IN_TAG));
    return new Tag("ws-" + shown + "-state" + (generation == 1 ? "" : "-" + generation));
  }

  private static ForkdException already(Status status, String message) {
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION, message, Map.of(STATUS, status.name()), null);
  }

  @Override
  public void delete(WorkspaceName name) {
    alone(
        name,
        () -> {
          WorkspaceView view = view(row(name));
          rows.remove(name);
          view.liveSandbox().ifPresent(engine::kill);
          view.state().ifPresent(tag -> engine.deleteSnapshot(tag, DeleteMode.FORCE));
          return view;
        });
  }

  /** Refuses the deletion of a state, or forgets it when the caller insists. */
  void deleting(Tag tag, DeleteMode mode) {
    for (Row row : rows.values()) {
      if (row.state().equals(Optional.of(tag))) {
        if (mode != DeleteMode.FORCE) {
          throw new ForkdException(
              ErrorCode.FAILED_PRECONDITION,
              "snapshot '" + tag + "' is the state of workspace '" + row.spec().name() + "'");
        }
        put(new Row(row.id(), row.spec(), row.sandbox(), Optional.empty(), row.generation()));
      }
    }
  }

  private WorkspaceView alone(
      WorkspaceName name, java.util.function.Supplier<WorkspaceView> change) {
    engine.mayFail();
    if (!underWay.add(name)) {
      throw new ForkdException(
          ErrorCode.ABORTED, "workspace '" + name + "' is being changed by another request");
    }
    try {
      return change.get();
    } finally {
      underWay.remove(name);
    }
  }

  private SandboxId fork(Tag tag, OptionalLong memoryLimitMib) {
    return engine
        .fork(new ForkSpec(tag, 1, memoryLimitMib, false, false, false, "emulation"))
        .stream()
        .map(outcome -> ((ChildOutcome.Started) outcome).sandbox().id())
        .findFirst()
        .orElseThrow();
  }

  private Row row(WorkspaceName name) {
    Row row = rows.get(name);
    if (row == null) {
      throw new ForkdException(ErrorCode.NOT_FOUND, "workspace '" + name + "' does not exist");
    }
    return row;
  }

  private WorkspaceView put(Row row) {
    rows.put(row.spec().name(), row);
    return view(row);
  }

  private Optional<SandboxView> living(Row row) {
    return row.sandbox()
        .flatMap(id -> engine.sandboxes().stream().filter(view -> view.id().equals(id)).findFirst())
        .filter(view -> view.failure().isEmpty());
  }

  private WorkspaceView view(Row row) {
    Optional<SandboxView> living = living(row);
    return new WorkspaceView(
        row.id(),
        row.spec().name(),
        row.spec().snapshot(),
        row.state(),
        living.isPresent()
            ? Status.RUNNING
            : row.sandbox().isPresent() ? Status.STALE : Status.SUSPENDED,
        living.map(SandboxView::id),
        row.spec().memoryLimitMib(),
        NOW,
        NOW,
        row.state().map(tag -> Path.of("/data/snapshots", tag.value())));
  }
}
