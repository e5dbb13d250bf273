package dev.forkd.local;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.branch.Brancher;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.Caller;
import dev.forkd.engine.ChildOutcome;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.EngineStats;
import dev.forkd.engine.EvalResult;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSession;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ForkSpec;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.GuestFiles;
import dev.forkd.engine.GuestPorts;
import dev.forkd.engine.GuestProcesses;
import dev.forkd.engine.GuestReport;
import dev.forkd.engine.GuestUsage;
import dev.forkd.engine.HostedSandboxes;
import dev.forkd.engine.Pools;
import dev.forkd.engine.RecoveryReport;
import dev.forkd.engine.SandboxView;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.SnapshotDetail;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.engine.Workspaces;
import dev.forkd.fork.Forker;
import dev.forkd.fork.Zygotes;
import dev.forkd.guest.AgentStatus;
import dev.forkd.hosted.HostedKeeper;
import dev.forkd.pool.PoolKeeper;
import dev.forkd.sandbox.Admission;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.Compactor;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.template.TemplateBaker;
import dev.forkd.workspace.WorkspaceKeeper;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** The engine of one data directory, in this process. */
final class LocalEngine implements ForkdEngine {
  /** A daemon that is told to stop has 30 s in all. */
  private static final Duration DRAIN = Duration.ofSeconds(10);

  private static final Duration PING_TIMEOUT = Duration.ofSeconds(10);

  private final SnapshotCatalog snapshots;
  private final Compactor compactor;
  private final Sandboxes sandboxes;
  private final Forker forker;
  private final Brancher brancher;
  private final TemplateBaker baker;
  private final Zygotes zygotes;
  private final WorkspaceKeeper workspaces;
  private final HostedKeeper hosted;
  private final PoolKeeper pools;
  private final Optional<Admission> admission;
  private final RecoveryReport recovery;
  private final boolean killOnExit;
  private final Runnable closeRest;

  LocalEngine(
      SnapshotCatalog snapshots,
      Compactor compactor,
      Sandboxes sandboxes,
      Forker forker,
      Brancher brancher,
      TemplateBaker baker,
      Zygotes zygotes,
      WorkspaceKeeper workspaces,
      HostedKeeper hosted,
      PoolKeeper pools,
      Optional<Admission> admission,
      RecoveryReport recovery,
      boolean killOnExit,
      Runnable closeRest) {
    this.snapshots = snapshots;
    this.compactor = compactor;
    this.sandboxes = sandboxes;
    this.forker = forker;
    this.brancher = brancher;
    this.baker = baker;
    this.zygotes = zygotes;
    this.workspaces = workspaces;
    this.hosted = hosted;
    this.pools = pools;
    this.admission = admission;
    this.recovery = recovery;
    this.killOnExit = killOnExit;
    this.closeRest = closeRest;
  }

  @Override
  public List<Snapshot> snapshots() {
    return snapshots.list();
  }

  @Override
  public Snapshot snapshot(Tag tag) {
    return snapshots.get(tag);
  }

  @Override
  public SnapshotDetail snapshotDetail(Tag tag) {
    return snapshots.detail(tag);
  }

  @Override
  public Snapshot compact(Tag from, Tag to) {
    return compactor.compact(from, to);
  }

  @Override
  public Snapshot bake(TemplateSpec spec, Consumer<String> progress) {
    workspaces.requireNoState(spec.tag());
    Snapshot template = baker.bake(spec, progress);
    zygotes.prune();
    pools.prune();
    zygotes.prepare(List.of(spec.tag()));
    return template;
  }

  @Override
  public void deleteSnapshot(Tag tag, DeleteMode mode) {
    if (brancher.cancel(tag) && !snapshots.contains(tag)) {
      return;
    }
    workspaces.deletingSnapshot(tag, mode, () -> snapshots.delete(tag, mode));
    pools.prune();
    zygotes.prune();
  }

  @Override
  public List<ChildOutcome> fork(ForkSpec spec) {
    return forker.fork(spec);
  }

  @Override
  public List<SandboxView> sandboxes() {
    return sandboxes.all().stream().map(sandbox -> sandbox.view(false)).toList();
  }

  @Override
  public SandboxView sandbox(SandboxId id) {
    return sandboxes.get(id).view(true);
  }

  @Override
  public void kill(SandboxId id) {
    sandboxes.kill(id);
  }

  @Override
  public Snapshot branch(SandboxId id, BranchSpec spec) {
    return brancher.branch(sandboxes.get(id), spec);
  }

  @Override
  public GuestReport ping(SandboxId id) {
    Sandbox sandbox = sandboxes.get(id);
    long begin = System.nanoTime();
    try (Sandbox.Session session = sandbox.enter()) {
      AgentStatus status = session.agent().status(PING_TIMEOUT);
      return new GuestReport(
          status.agent(),
          status.evaluator(),
          status.language(),
          status.numpy(),
          status.processes(),
          status.idle(),
          (System.nanoTime() - begin) / 1e6);
    }
  }

  @Override
  public ExecSession startExec(SandboxId id, ExecSpec spec, ExecListener listener) {
    checkExec(spec);
    return Execution.start(sandboxes.get(id), spec, listener);
  }

  private static void checkExec(ExecSpec spec) {
    if (spec.args().isEmpty()) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "args must contain at least one element");
    }
    if (spec.timeout().compareTo(ExecSpec.MAX_TIMEOUT) > 0 || !spec.timeout().isPositive()) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "timeout must be above 0 and at most " + ExecSpec.MAX_TIMEOUT.toHours() + " h");
    }
  }

  @Override
  public EvalResult eval(SandboxId id, String code, Duration timeout, Caller caller) {
    return Execution.eval(sandboxes.get(id), code, timeout, caller);
  }

  @Override
  public Workspaces workspaces() {
    return workspaces;
  }

  @Override
  public Pools pools() {
    return pools;
  }

  @Override
  public GuestFiles files(SandboxId id) {
    return new SandboxFiles(sandboxes.get(id));
  }

  @Override
  public GuestProcesses processes(SandboxId id) {
    return new SandboxProcesses(sandboxes.get(id));
  }

  @Override
  public GuestPorts ports(SandboxId id) {
    return new SandboxPorts(sandboxes.get(id));
  }

  @Override
  public GuestUsage usage(SandboxId id) {
    return LocalHostedHost.usage(sandboxes.get(id));
  }

  @Override
  public HostedSandboxes hosted() {
    return hosted;
  }

  @Override
  public EngineStats stats() {
    return new EngineStats(
        snapshots.size(),
        sandboxes.size(),
        brancher.inFlight(),
        brancher.cap(),
        admission.map(Admission::stats).orElse(EngineStats.Admission.NONE),
        pools.stats());
  }

  @Override
  public RecoveryReport recovery() {
    return recovery;
  }

  @Override
  public void close() {
    hosted.close();
    workspaces.close();
    pools.close();
    brancher.drain(DRAIN);
    for (Sandbox sandbox : sandboxes.all()) {
      leave(sandbox);
    }
    sandboxes.removeStaleRows();
    closeRest.run();
  }

  /** One that cannot be left does not keep the others. */
  private void leave(Sandbox sandbox) {
    try {
      if (killOnExit) {
        sandboxes.kill(sandbox.id());
      } else {
        sandbox.release();
      }
    } catch (RuntimeException e) {
      System.getLogger(LocalEngine.class.getName())
          .log(System.Logger.Level.WARNING, "leave sandbox {0}: {1}", sandbox.id(), e.getMessage());
    }
  }
}
