package dev.forkd.sandbox;

import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.SandboxView;
import dev.forkd.guest.AgentUsage;
import dev.forkd.guest.GuestAgent;
import dev.forkd.linux.Cgroup;
import dev.forkd.vmm.RunningVm;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * One live sandbox and the only owner of its VM, its agent connection and its gate. It is created
 * paused; the first request resumes it and runs the fork handshake before anything else.
 *
 * <p>Thread-safe.
 */
public final class Sandbox {
  /** For work that has no time limit of its own. */
  private static final Duration PATIENCE = Duration.ofSeconds(30);

  /** Requests do not wait longer for a core, whatever their own limit: clients give up as well. */
  private static final Duration PATIENCE_MAX = Duration.ofMinutes(1);

  private final SandboxId id;
  private final RunningVm vm;
  private final GuestAgent agent;
  private final String isolation;
  private final SandboxNotes notes;
  private final RunGate gate;
  private final SandboxEnd end;
  private final Certifier certifier;
  private final Door door = new Door();
  private final AtomicReference<Optional<AgentUsage>> lastUsage =
      new AtomicReference<>(Optional.empty());

  /** What a sandbox shares with all others. */
  public record Shared(
      Handshake handshake,
      Optional<Admission> admission,
      boolean pausing,
      ScheduledExecutorService clock,
      Saver saver) {}

  /** Writes a record down; it asks for it when it gets to it. */
  public interface Saver {
    void save(String id, Supplier<SandboxRecord> current);
  }

  /**
   * Takes charge of a VM that is there.
   *
   * @param agentConnection makes the connection; gets the listener for the guest's idleness
   * @param running whether the vCPUs run now
   */
  public Sandbox(
      SandboxRecord record,
      RunningVm vm,
      AgentConnector agentConnection,
      boolean running,
      String isolation,
      Optional<Cgroup> cgroup,
      Shared shared) {
    this.id = new SandboxId(record.id());
    this.vm = vm;
    this.isolation = isolation;
    this.notes = new SandboxNotes(record, shared.saver());
    this.agent = agentConnection.connect(vm, record.id(), this::guestChanged, this::agentLost);
    this.gate =
        new RunGate(
            vm,
            running,
            shared.pausing(),
            shared.admission(),
            shared.clock(),
            this::guestIdle,
            this::resumed);
    this.end = new SandboxEnd(id, vm, agent, gate, cgroup, notes);
    this.certifier = new Certifier(id, agent, shared.handshake(), shared.clock(), gate, notes, end);
    var _ = vm.exit().thenAccept(exit -> end.processEnded(exit.reason()));
  }

  /** Connects to the agent of a VM. */
  public interface AgentConnector {
    GuestAgent connect(RunningVm vm, String id, Runnable changed, Consumer<ForkdException> lost);
  }

  public SandboxId id() {
    return id;
  }

  public SandboxRecord record() {
    return notes.record();
  }

  /** Its life for its user begins now. Whoever says so also stores the record. */
  public void handOut(long unixSeconds) {
    notes.handOut(unixSeconds);
  }

  public RunningVm vm() {
    return vm;
  }

  private boolean guestIdle() {
    return agent.idle() && agent.openStreams() == 0;
  }

  private void guestChanged() {
    gate.pauseSoon();
  }

  private void agentLost(ForkdException why) {
    end.agentLost(why);
  }

  private void resumed() {
    certifier.resumed();
  }

  /** Something to do in a sandbox that is alive and verified; close it when done. */
  public final class Session implements AutoCloseable {
    private final RunGate.Pass pass;
    private final AtomicBoolean closed = new AtomicBoolean();

    private Session(RunGate.Pass pass) {
      this.pass = pass;
    }

    public GuestAgent agent() {
      return agent;
    }

    @Override
    public void close() {
      if (closed.compareAndSet(false, true)) {
        pass.close();
        door.leave();
      }
    }
  }

  /**
   * Resumes the sandbox for a piece of work, with its certificate verified and its clock right.
   *
   * @throws ForkdException UNAVAILABLE when it has failed or is being killed, ABORTED when the
   *     handshake is refused or the sandbox is being suspended, RESOURCE_EXHAUSTED or
   *     DEADLINE_EXCEEDED when no core was free for it
   */
  public Session enter() {
    return enter(PATIENCE);
  }

  /** As {@link #enter()}, with another time to wait for a core. */
  public Session enter(Duration patience) {
    checkAlive();
    door.enter(id);
    try {
      return admit(patience);
    } catch (RuntimeException e) {
      door.leave();
      throw e;
    }
  }

  private Session admit(Duration patience) {
    RunGate.Pass pass = pass(patience);
    try {
      certifier.certify();
      return new Session(pass);
    } catch (RuntimeException e) {
      pass.close();
      throw e;
    }
  }

  /**
   * How long work with a time limit waits for a core: no longer than its limit, which begins anew
   * when it is let in.
   */
  public static Duration patience(Duration limit) {
    return limit.compareTo(PATIENCE_MAX) < 0 ? limit : PATIENCE_MAX;
  }

  private RunGate.Pass pass(Duration patience) {
    try {
      return gate.enter(patience);
    } catch (ForkdException e) {
      // If it has ended meanwhile, that says more than that it could not be entered.
      checkAlive();
      throw e;
    }
  }

  /** A former owner may have ended in the middle of the handshake. */
  public void doubtHandshake() {
    certifier.doubtHandshake();
  }

  /**
   * Begins a new conversation with the guest of a former owner: whatever that one was in the middle
   * of is over, and nothing stays frozen.
   */
  public void resynchronize() {
    certifier.resynchronize();
  }

  /** A branch's hold on the sandbox: verified, and neither resumed nor paused by anyone else. */
  public final class BranchGrip implements AutoCloseable {
    private final RunGate.Grip grip;
    private boolean closed;

    private BranchGrip(RunGate.Grip grip) {
      this.grip = grip;
    }

    /** Whether the guest runs, so that its processes have to be frozen. */
    public boolean running() {
      return grip.wasRunning();
    }

    public GuestAgent agent() {
      return agent;
    }

    /** The VM stands still and could not be resumed: the next request tries again. */
    public void stopped() {
      grip.stopped();
    }

    /** Lets go; only by the thread that took it. A second time is harmless. */
    @Override
    public void close() {
      if (!closed) {
        closed = true;
        grip.close();
      }
    }
  }

  /**
   * Takes hold of the sandbox for a branch. A guest that is paused because it is idle stays paused:
   * nothing of the user's runs in it, so there is nothing to freeze.
   */
  public BranchGrip gripForBranch() {
    checkAlive();
    if (!certifier.certified()) {
      enter().close();
    }
    return new BranchGrip(gate.grip());
  }

  /**
   * Keeps requests out, so that what is saved from now on is all that anybody was told of. Verifies
   * the sandbox first; branches are still possible.
   *
   * @param patience for requests under way
   * @return lets them in again when closed
   * @throws ForkdException FAILED_PRECONDITION when requests do not end, ABORTED when they are kept
   *     out already
   */
  public Door.Shut shutDoor(Duration patience) {
    checkAlive();
    if (!certifier.certified()) {
      enter().close();
    }
    return door.shut(id, patience);
  }

  /** Whether it has neither failed nor is being killed. One that was let go lives on. */
  public boolean alive() {
    return end.alive();
  }

  /**
   * @throws ForkdException UNAVAILABLE when the sandbox has failed or is being killed
   */
  public void checkAlive() {
    end.checkAlive();
  }

  /**
   * Why a request to the guest failed: the sandbox's own end, where that is behind it, says more
   * than a broken channel.
   */
  public ForkdException reason(ForkdException failure) {
    return end.reason(failure);
  }

  /** How busy the guest's CPUs were since this was asked last, in percent of all of them. */
  public double cpuPercent(AgentUsage now) {
    Optional<AgentUsage> before = lastUsage.getAndSet(Optional.of(now));
    long millis = before.map(then -> now.uptimeMillis() - then.uptimeMillis()).orElse(0L);
    if (millis <= 0) {
      return 0;
    }
    double busy = now.cpuBusyMillis() - before.orElseThrow().cpuBusyMillis();
    return Math.clamp(100 * busy / millis / Math.max(1, now.cpuCount()), 0, 100);
  }

  /** Counts a branch. */
  public void branched(Path memory) {
    notes.branched(memory);
  }

  /**
   * Notes that the disk chain has changed. Not durable at once: whoever adopts the sandbox asks its
   * VMM which layers it uses.
   */
  public void diskChanged() {
    notes.diskChanged(vm.disk());
  }

  /**
   * Ends the VM and removes its cgroup; its files are the caller's to remove. Where that fails the
   * sandbox is served no more, and another call tries again.
   *
   * @throws ForkdException UNAVAILABLE when the process or the cgroup does not go away
   */
  public void kill() {
    end.kill();
    certifier.forget();
  }

  /** Lets go without ending the VM, which goes on as it is. */
  public void release() {
    end.release();
  }

  /** As seen from outside. */
  public SandboxView view(boolean withDiverged) {
    SandboxRecord now = notes.record();
    String state =
        end.beingKilled()
            ? "killing"
            : now.failure().isPresent()
                ? "failed"
                : now.certificate().state() == Certificate.State.PENDING
                    ? "created"
                    : gate.running() ? "running" : "idle";
    return new SandboxView(
        id,
        new Tag(now.snapshot()),
        now.createdAtUnix(),
        vm.exit().isDone() ? OptionalInt.empty() : OptionalInt.of(vm.process().pid()),
        now.memoryLimitMib(),
        now.branchCount(),
        now.lastBranchMemoryPath().map(Path::of),
        isolation,
        state,
        now.failure(),
        now.memoryMib(),
        withDiverged && now.failure().isEmpty() ? diverged() : OptionalLong.empty(),
        now.certificate());
  }

  private OptionalLong diverged() {
    try {
      return OptionalLong.of(vm.memory().ownBytes());
    } catch (ForkdException e) {
      return OptionalLong.empty();
    }
  }
}
