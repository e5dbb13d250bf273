package dev.forkd.sandbox;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.SandboxView;
import dev.forkd.guest.AgentUsage;
import dev.forkd.guest.GuestAgent;
import dev.forkd.linux.Cgroup;
import dev.forkd.vmm.RunningVm;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;

/**
 * One live sandbox and the only owner of its VM, its agent connection and its gate. It is created
 * paused; the first request resumes it and runs the fork handshake before anything else.
 *
 * <p>Thread-safe.
 */
public final class Sandbox {
  private static final System.Logger LOG = System.getLogger(Sandbox.class.getName());

  /** For work that has no time limit of its own. */
  private static final Duration PATIENCE = Duration.ofSeconds(30);

  /** Requests do not wait longer for a core, whatever their own limit: clients give up as well. */
  private static final Duration PATIENCE_MAX = Duration.ofMinutes(1);

  private static final Duration ADOPTION_PATIENCE = Duration.ofMinutes(5);

  private static final Duration SYNC_TIMEOUT = Duration.ofSeconds(20);

  private static final Duration EXIT_GRACE = Duration.ofSeconds(2);
  private static final Duration REASON_POLL = Duration.ofMillis(5);

  private final SandboxId id;
  private final RunningVm vm;
  private final GuestAgent agent;
  private final Handshake handshake;
  private final String isolation;
  private final Optional<Cgroup> cgroup;
  private final Saver saver;
  private final GuestClock guestClock;
  private final RunGate gate;
  private final Door door = new Door();
  private final ReentrantLock certifying = new ReentrantLock();
  private final ReentrantLock changing = new ReentrantLock();
  private final ReentrantLock ending = new ReentrantLock();
  private final AtomicReference<Optional<AgentUsage>> lastUsage =
      new AtomicReference<>(Optional.empty());
  private volatile SandboxRecord record;
  private volatile boolean killed;
  private volatile boolean released;
  private volatile boolean inDoubt;

  /** Nothing may be sent to the agent before it has begun the new conversation. */
  private volatile boolean resynchronizing;

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
    this.record = record;
    this.vm = vm;
    this.handshake = shared.handshake();
    this.isolation = isolation;
    this.cgroup = cgroup;
    this.saver = shared.saver();
    this.agent = agentConnection.connect(vm, record.id(), this::guestChanged, this::agentLost);
    this.guestClock = new GuestClock(record.id(), agent, shared.clock(), this::mayAnswer);
    this.gate =
        new RunGate(
            vm,
            running,
            shared.pausing(),
            shared.admission(),
            shared.clock(),
            this::guestIdle,
            this::stepClock);
    var _ = vm.exit().thenAccept(exit -> processEnded(exit.reason()));
  }

  /** Connects to the agent of a VM. */
  public interface AgentConnector {
    GuestAgent connect(RunningVm vm, String id, Runnable changed, Consumer<ForkdException> lost);
  }

  public SandboxId id() {
    return id;
  }

  public SandboxRecord record() {
    return record;
  }

  /** Its life for its user begins now. Whoever says so also stores the record. */
  public void handOut(long unixSeconds) {
    changing.lock();
    try {
      record = record.withCreatedAt(unixSeconds);
    } finally {
      changing.unlock();
    }
  }

  public RunningVm vm() {
    return vm;
  }

  private boolean guestIdle() {
    return agent.idle() && agent.openStreams() == 0;
  }

  private boolean mayAnswer() {
    return alive() && !released && gate.awake();
  }

  /** The clock stood still while the guest was paused. One without an epoch gets its time by it. */
  private void stepClock() {
    if (record.certificate().state() == Certificate.State.VERIFIED && !resynchronizing) {
      guestClock.step();
    }
  }

  private void guestChanged() {
    gate.pauseSoon();
  }

  /** The channel also ends when the VMM does, a moment before that is known with its reason. */
  private void agentLost(ForkdException why) {
    var _ =
        vm.exit()
            .thenApply(exit -> true)
            .completeOnTimeout(false, EXIT_GRACE.toMillis(), TimeUnit.MILLISECONDS)
            .thenAccept(ended -> {
              if (!ended) {
                fail("the connection to its guest agent ended: " + why.message());
              }
            });
  }

  private void processEnded(String reason) {
    gate.close();
    if (killed) {
      return;
    }
    boolean limit = cgroup.map(Sandbox::wasOutOfMemory).orElse(false);
    fail(
        limit
            ? "it reached its memory limit of "
                + record.memoryLimitMib().orElse(0)
                + " MiB and was ended"
            : "its VMM ended: " + reason);
  }

  private static boolean wasOutOfMemory(Cgroup group) {
    try {
      return group.oomKills() > 0;
    } catch (IOException e) {
      return false;
    }
  }

  private void fail(String reason) {
    if (!killed && record.failure().isEmpty()) {
      noteFailure(now -> now.failure().isPresent() ? now : now.withFailure(reason));
      gate.fail();
    }
  }

  /** A failure is one also where it cannot be written down, as on a full disk. */
  private void noteFailure(UnaryOperator<SandboxRecord> change) {
    try {
      update(change);
    } catch (ForkdException e) {
      LOG.log(System.Logger.Level.WARNING, "note the failure of {0}: {1}", id, e.message());
    }
  }

  /** One change after the other, so that none is lost, a failure least of all. */
  private void update(UnaryOperator<SandboxRecord> change) {
    changing.lock();
    try {
      record = change.apply(record);
      saver.save(id.value(), this::record);
    } finally {
      changing.unlock();
    }
  }

  /**
   * A change that need not be durable before the caller goes on. That of a certificate: whoever
   * adopts the sandbox without having heard of it finds out by asking the guest.
   */
  private void updateSoon(UnaryOperator<SandboxRecord> change) {
    changing.lock();
    try {
      record = change.apply(record);
    } finally {
      changing.unlock();
    }
    Threads.virtual(
        "save-" + id,
        () -> {
          try {
            saver.save(id.value(), this::record);
          } catch (ForkdException e) {
            LOG.log(System.Logger.Level.WARNING, "save sandbox {0}: {1}", id, e.message());
          }
        });
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
      if (record.certificate().state() != Certificate.State.VERIFIED) {
        gate.steady(true);
        try {
          certify();
        } finally {
          gate.steady(false);
        }
      }
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
    inDoubt = true;
  }

  /**
   * Begins a new conversation with the guest of a former owner: whatever that one was in the middle
   * of is over, and nothing stays frozen.
   */
  public void resynchronize() {
    agent.beginSync(HexFormat.of().parseHex(record.ownToken()));
    resynchronizing = true;
    gate.steady(true);
    try {
      RunGate.Pass pass = gate.enter(ADOPTION_PATIENCE);
      try (pass) {
        agent.awaitSync(SYNC_TIMEOUT);
        resynchronizing = false;
        guestClock.step();
        agent.thaw(SYNC_TIMEOUT);
      }
    } finally {
      resynchronizing = false;
      gate.steady(false);
    }
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
    if (record.certificate().state() != Certificate.State.VERIFIED) {
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
    if (record.certificate().state() != Certificate.State.VERIFIED) {
      enter().close();
    }
    return door.shut(id, patience);
  }

  private void certify() {
    certifying.lock();
    try {
      if (record.certificate().state() == Certificate.State.VERIFIED) {
        return;
      }
      checkAlive();
      byte[] snapshotToken = HexFormat.of().parseHex(record.snapshotToken());
      byte[] ownToken = HexFormat.of().parseHex(record.ownToken());
      Certificate proof =
          handshake.perform(
              id.value(),
              agent,
              inDoubt ? handshake.inDoubt(snapshotToken, ownToken) : handshake.fresh(snapshotToken),
              ownToken);
      if (record.frozen() || inDoubt) {
        agent.thaw(Duration.ofSeconds(10));
      }
      updateSoon(now -> now.withCertificate(proof));
    } catch (ForkdException e) {
      if (!killed) {
        noteFailure(now ->
            now.withCertificate(Certificate.failed(e.message()))
                .withFailure("its fork handshake failed: " + e.message()));
        // Nothing of it is ever served, so nothing of it may run on.
        endVm(e);
      }
      throw e;
    } finally {
      certifying.unlock();
    }
  }

  /** Whoever kills the sandbox later tries again. */
  private void endVm(ForkdException because) {
    try {
      vm.kill();
    } catch (ForkdException | UncheckedIOException e) {
      because.addSuppressed(e);
      LOG.log(System.Logger.Level.WARNING, "end the VM of {0}: {1}", id, e.getMessage());
    }
  }

  /** Whether it has neither failed nor is being killed. One that was let go lives on. */
  public boolean alive() {
    return (!killed || released) && record.failure().isEmpty();
  }

  /**
   * @throws ForkdException UNAVAILABLE when the sandbox has failed or is being killed
   */
  public void checkAlive() {
    Optional<String> failure = record.failure();
    if (failure.isPresent()) {
      throw new ForkdException(ErrorCode.UNAVAILABLE, failed(failure.get()));
    }
    if (killed) {
      throw new ForkdException(ErrorCode.UNAVAILABLE, "sandbox " + id + " is being killed");
    }
  }

  /**
   * Why a request to the guest failed: the sandbox's own end, where that is behind it, says more
   * than a broken channel.
   */
  public ForkdException reason(ForkdException failure) {
    if (failure.code() != ErrorCode.UNAVAILABLE) {
      return failure;
    }
    // The channel ends a moment before it is known how the VMM did. A guest that is there has told
    // its reason itself.
    boolean lost = agent.lost() || failure.getCause() instanceof IOException;
    long until = System.nanoTime() + (lost ? EXIT_GRACE.toNanos() : 0);
    while (!killed
        && record.failure().isEmpty()
        && System.nanoTime() < until
        && !Thread.currentThread().isInterrupted()) {
      LockSupport.parkNanos(REASON_POLL.toNanos());
    }
    if (killed) {
      return new ForkdException(ErrorCode.UNAVAILABLE, "sandbox '" + id + "' was killed", failure);
    }
    return record
        .failure()
        .map(why -> new ForkdException(ErrorCode.UNAVAILABLE, failed(why), failure))
        .orElse(failure);
  }

  private String failed(String why) {
    return "sandbox " + id + " has failed: " + why + ". Kill it and fork again";
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
    update(now -> now.afterBranch(memory.toString()));
  }

  /**
   * Notes that the disk chain has changed. Not durable at once: whoever adopts the sandbox asks its
   * VMM which layers it uses.
   */
  public void diskChanged() {
    updateSoon(now ->
        now.withDisk(
            vm.disk().base().stream().map(dev.forkd.snapshot.Layers::ref).toList(),
            vm.disk().active().id()));
  }

  /**
   * Ends the VM and removes its cgroup; its files are the caller's to remove. Where that fails the
   * sandbox is served no more, and another call tries again.
   *
   * @throws ForkdException UNAVAILABLE when the process or the cgroup does not go away
   */
  public void kill() {
    killed = true;
    gate.close();
    ending.lock();
    try {
      vm.kill();
      for (Cgroup group : cgroup.stream().toList()) {
        group.destroy();
      }
    } catch (ForkdException e) {
      throw notGone(e.message(), e);
    } catch (IOException | UncheckedIOException e) {
      throw notGone(String.valueOf(e.getMessage()), e);
    } finally {
      ending.unlock();
      agent.close();
    }
    handshake.forget(record.certificate());
  }

  private ForkdException notGone(String why, Exception cause) {
    return new ForkdException(
        ErrorCode.UNAVAILABLE,
        "sandbox " + id + " could not be removed yet: " + why + ". It stays listed; kill it again",
        cause);
  }

  /** Lets go without ending the VM, which goes on as it is. */
  public void release() {
    released = true;
    killed = true;
    gate.close();
    agent.close();
    vm.close();
  }

  /** As seen from outside. */
  public SandboxView view(boolean withDiverged) {
    SandboxRecord now = record;
    String state =
        killed && !released
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
