package dev.forkd.sandbox;

import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.engine.Certificate;
import dev.forkd.guest.GuestAgent;
import java.time.Duration;
import java.util.HexFormat;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Makes sure of one sandbox's guest: runs its fork handshake once, begins a new conversation after
 * a change of owner, and keeps its clock right. Thread-safe.
 */
final class Certifier {
  private static final Duration ADOPTION_PATIENCE = Duration.ofMinutes(5);
  private static final Duration SYNC_TIMEOUT = Duration.ofSeconds(20);
  private static final Duration THAW_TIMEOUT = Duration.ofSeconds(10);

  private final SandboxId id;
  private final GuestAgent agent;
  private final Handshake handshake;
  private final RunGate gate;
  private final SandboxNotes notes;
  private final SandboxEnd end;
  private final GuestClock clock;
  private final ReentrantLock certifying = new ReentrantLock();
  private volatile boolean inDoubt;

  /** Nothing may be sent to the agent before it has begun the new conversation. */
  private volatile boolean resynchronizing;

  Certifier(
      SandboxId id,
      GuestAgent agent,
      Handshake handshake,
      ScheduledExecutorService timer,
      RunGate gate,
      SandboxNotes notes,
      SandboxEnd end) {
    this.id = id;
    this.agent = agent;
    this.handshake = handshake;
    this.gate = gate;
    this.notes = notes;
    this.end = end;
    this.clock = new GuestClock(id.value(), agent, timer, () -> end.mayServe() && gate.awake());
  }

  boolean certified() {
    return notes.record().certificate().state() == Certificate.State.VERIFIED;
  }

  /**
   * Runs the handshake if it has not been; the VM runs.
   *
   * @throws ForkdException when it is refused: the sandbox has failed
   */
  void certify() {
    if (certified()) {
      return;
    }
    gate.steady(true);
    certifying.lock();
    try {
      if (!certified()) {
        // It may have failed, for another who waited for it as well.
        end.checkAlive();
        shakeHands();
      }
    } finally {
      certifying.unlock();
      gate.steady(false);
    }
  }

  private void shakeHands() {
    SandboxRecord record = notes.record();
    byte[] snapshotToken = HexFormat.of().parseHex(record.snapshotToken());
    byte[] ownToken = HexFormat.of().parseHex(record.ownToken());
    Certificate proof;
    try {
      proof =
          handshake.perform(
              id.value(),
              agent,
              inDoubt ? handshake.inDoubt(snapshotToken, ownToken) : handshake.fresh(snapshotToken),
              ownToken);
      if (record.frozen() || inDoubt) {
        agent.thaw(THAW_TIMEOUT);
      }
    } catch (ForkdException e) {
      end.handshakeFailed(e);
      throw e;
    }
    notes.updateSoon(now -> now.withCertificate(proof));
  }

  /** The sandbox is gone. */
  void forget() {
    handshake.forget(notes.record().certificate());
  }

  /** See {@link Sandbox#doubtHandshake}. */
  void doubtHandshake() {
    inDoubt = true;
  }

  /** See {@link Sandbox#resynchronize}. */
  void resynchronize() {
    agent.beginSync(HexFormat.of().parseHex(notes.record().ownToken()));
    resynchronizing = true;
    gate.steady(true);
    try {
      RunGate.Pass pass = gate.enter(ADOPTION_PATIENCE);
      try (pass) {
        agent.awaitSync(SYNC_TIMEOUT);
        resynchronizing = false;
        clock.step();
        agent.thaw(SYNC_TIMEOUT);
      }
    } finally {
      resynchronizing = false;
      gate.steady(false);
    }
  }

  /** The clock stood still while the guest was paused. One without an epoch gets its time by it. */
  void resumed() {
    if (certified() && !resynchronizing) {
      clock.step();
    }
  }
}
