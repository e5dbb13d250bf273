package dev.forkd.engine;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;

/**
 * Everything forkd does, in domain words. Every method may be called from any virtual thread,
 * blocks until the work is done, and throws {@link dev.forkd.api.ForkdException} with a code and a
 * message fit for the user. An unknown sandbox or snapshot is {@code NOT_FOUND}.
 */
public interface ForkdEngine extends AutoCloseable {

  /** All snapshots and templates, sorted by tag; those that cannot be started say why. */
  List<Snapshot> snapshots();

  /** The snapshot with this tag. */
  Snapshot snapshot(Tag tag);

  /**
   * What a snapshot takes on disk, and its place in a chain.
   *
   * @throws dev.forkd.api.ForkdException DATA_LOSS when an ancestor is missing or not what it was
   */
  SnapshotDetail snapshotDetail(Tag tag);

  /**
   * Makes of {@code from} a snapshot with flat memory that needs no ancestor. All or nothing.
   *
   * @throws dev.forkd.api.ForkdException INVALID_ARGUMENT for equal tags, ALREADY_EXISTS when
   *     {@code to} does, DATA_LOSS naming a file that is not as it was written
   */
  Snapshot compact(Tag from, Tag to);

  /**
   * Makes a disk image, boots it once, warms it, freezes it and stores it under {@code spec.tag()}.
   *
   * @param progress hears one line per step; called on the calling thread
   */
  Snapshot bake(TemplateSpec spec, Consumer<String> progress);

  /**
   * Removes a snapshot. Sandboxes that run on it keep running.
   *
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when other snapshots name it as parent
   *     and {@code mode} is {@link DeleteMode#REFUSE}, or when it is the saved state of a workspace
   *     and {@code mode} is not {@link DeleteMode#FORCE}
   */
  void deleteSnapshot(Tag tag, DeleteMode mode);

  /** Forks {@code spec.count()} children; one outcome per child, in order. */
  List<ChildOutcome> fork(ForkSpec spec);

  /** All sandboxes, sorted by id. */
  List<SandboxView> sandboxes();

  SandboxView sandbox(SandboxId id);

  /** Ends a sandbox and frees all it holds. */
  void kill(SandboxId id);

  /** Saves a running sandbox as a snapshot while it lives on. */
  Snapshot branch(SandboxId id, BranchSpec spec);

  /** Asks the guest how it is; UNAVAILABLE while it cannot be reached. */
  GuestReport ping(SandboxId id);

  /**
   * Runs a command to its end and collects its output, bounded by {@link ExecSpec#outputLimitBytes}
   * and by what {@code caller} may hold; it is killed when the caller goes away.
   */
  default ExecResult exec(SandboxId id, ExecSpec spec, Caller caller) {
    return CollectedExec.run(this, id, spec, caller);
  }

  /** The same for someone who waits. */
  default ExecResult exec(SandboxId id, ExecSpec spec) {
    return exec(id, spec, Caller.PATIENT);
  }

  /**
   * Starts a command whose output is heard as it comes. The listener is called on one thread and
   * may block: back-pressure reaches the guest's process. A program that cannot be run ends with
   * 127 (not found) or 126 and the reason on standard error, as a shell would have it.
   */
  ExecSession startExec(SandboxId id, ExecSpec spec, ExecListener listener);

  /**
   * Evaluates code in the sandbox's warm interpreter; it is interrupted when the caller goes away.
   *
   * @throws dev.forkd.api.ForkdException RESOURCE_EXHAUSTED when the outcome is more than {@code
   *     caller} may hold, DEADLINE_EXCEEDED, UNIMPLEMENTED when the image has no interpreter
   */
  EvalResult eval(SandboxId id, String code, Duration timeout, Caller caller);

  /** The same for someone who waits. */
  default EvalResult eval(SandboxId id, String code, Duration timeout) {
    return eval(id, code, timeout, Caller.PATIENT);
  }

  /** Named sandboxes that can be suspended and resumed. */
  Workspaces workspaces();

  /** Children that are forked ahead. */
  Pools pools();

  /** The guest's files. */
  GuestFiles files(SandboxId id);

  /** The guest's processes that outlive the connection they were started from. */
  GuestProcesses processes(SandboxId id);

  /** The guest's TCP ports. */
  GuestPorts ports(SandboxId id);

  /** What the guest uses now. */
  GuestUsage usage(SandboxId id);

  /** Sandboxes that keep their id and have an end, as clients of hosting services know them. */
  HostedSandboxes hosted();

  /** Counts for metrics. */
  EngineStats stats();

  /** What start-up found: adopted, finished or undone, reaped. */
  RecoveryReport recovery();

  /** Stops serving; sandboxes live on for the next owner of the data directory. */
  @Override
  void close();
}
