package dev.forkd.sandbox;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.engine.Certificate;
import dev.forkd.guest.GuestAgent;
import dev.forkd.linux.Cgroup;
import dev.forkd.vmm.RunningVm;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/** How a sandbox ends: by itself, by a kill, or for this process alone. Thread-safe. */
final class SandboxEnd {
  private static final System.Logger LOG = System.getLogger(SandboxEnd.class.getName());

  private static final Duration EXIT_GRACE = Duration.ofSeconds(2);
  private static final Duration REASON_POLL = Duration.ofMillis(5);

  private final SandboxId id;
  private final RunningVm vm;
  private final GuestAgent agent;
  private final RunGate gate;
  private final Optional<Cgroup> cgroup;
  private final SandboxNotes notes;
  private final ReentrantLock ending = new ReentrantLock();

  /** Nobody is served any more. Also of one that was let go. */
  private volatile boolean killed;

  private volatile boolean released;

  /**
   * @param cgroup of its own, where its memory is limited
   */
  SandboxEnd(
      SandboxId id,
      RunningVm vm,
      GuestAgent agent,
      RunGate gate,
      Optional<Cgroup> cgroup,
      SandboxNotes notes) {
    this.id = id;
    this.vm = vm;
    this.agent = agent;
    this.gate = gate;
    this.cgroup = cgroup;
    this.notes = notes;
  }

  boolean beingKilled() {
    return killed && !released;
  }

  /** Whether it has neither failed nor is being killed. One that was let go lives on. */
  boolean alive() {
    return !beingKilled() && notes.record().failure().isEmpty();
  }

  /** Whether it may be served. */
  boolean mayServe() {
    return !killed && notes.record().failure().isEmpty();
  }

  /**
   * @throws ForkdException UNAVAILABLE when the sandbox has failed or is being killed
   */
  void checkAlive() {
    Optional<String> failure = notes.record().failure();
    if (failure.isPresent()) {
      throw new ForkdException(ErrorCode.UNAVAILABLE, failed(failure.get()));
    }
    if (killed) {
      throw new ForkdException(ErrorCode.UNAVAILABLE, "sandbox " + id + " is being killed");
    }
  }

  private String failed(String why) {
    return "sandbox " + id + " has failed: " + why + ". Kill it and fork again";
  }

  /** See {@link Sandbox#reason}. */
  ForkdException reason(ForkdException failure) {
    if (failure.code() != ErrorCode.UNAVAILABLE) {
      return failure;
    }
    // The channel ends a moment before it is known how the VMM did. A guest that is there has told
    // its reason itself.
    boolean lost = agent.lost() || failure.getCause() instanceof IOException;
    long until = System.nanoTime() + (lost ? EXIT_GRACE.toNanos() : 0);
    while (mayServe() && System.nanoTime() < until && !Thread.currentThread().isInterrupted()) {
      LockSupport.parkNanos(REASON_POLL.toNanos());
    }
    if (killed) {
      return new ForkdException(ErrorCode.UNAVAILABLE, "sandbox '" + id + "' was killed", failure);
    }
    return notes
        .record()
        .failure()
        .map(why -> new ForkdException(ErrorCode.UNAVAILABLE, failed(why), failure))
        .orElse(failure);
  }

  /** The channel also ends when the VMM does, a moment before that is known with its reason. */
  void agentLost(ForkdException why) {
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

  void processEnded(String reason) {
    gate.close();
    if (killed) {
      return;
    }
    boolean limit = cgroup.map(SandboxEnd::wasOutOfMemory).orElse(false);
    fail(
        limit
            ? "it reached its memory limit of "
                + notes.record().memoryLimitMib().orElse(0)
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
    if (mayServe()) {
      notes.fail(now -> now.failure().isPresent() ? now : now.withFailure(reason));
      gate.fail();
    }
  }

  /** Nothing of it is ever served, so nothing of it may run on. */
  void handshakeFailed(ForkdException why) {
    if (!killed) {
      notes.fail(now ->
          now.withCertificate(Certificate.failed(why.message()))
              .withFailure("its fork handshake failed: " + why.message()));
      endVm(why);
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

  /** See {@link Sandbox#kill}. */
  void kill() {
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
  }

  private ForkdException notGone(String why, Exception cause) {
    return new ForkdException(
        ErrorCode.UNAVAILABLE,
        "sandbox " + id + " could not be removed yet: " + why + ". It stays listed; kill it again",
        cause);
  }

  /** Lets go without ending the VM, which goes on as it is. */
  void release() {
    released = true;
    killed = true;
    gate.close();
    agent.close();
    vm.close();
  }
}
