package dev.forkd.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.WorkspaceName;
import dev.forkd.engine.HostedSandboxes.Subscription;
import dev.forkd.engine.HostedView;
import dev.forkd.state.HostedRow;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;

/**
 * One hosted sandbox: what is known of it, who changes it now, and who wants to hear that it stops.
 * Its fields are changed by the holder of its turn only; anyone may read them.
 */
final class Hosted {
  /** Longer than any change takes that has not failed. */
  private static final Duration TURN_PATIENCE = Duration.ofSeconds(50);

  /** As far ahead as an end can be set; longer ones are that long. */
  private static final Duration TIMEOUT_MAX = Duration.ofDays(365);

  private final String id;
  private final HostedDetail detail;
  private final ReentrantLock turn = new ReentrantLock(true);
  private final Set<Runnable> stopListeners = ConcurrentHashMap.newKeySet();

  /** Its sandbox, while it runs and is not about to stop. */
  private volatile Optional<SandboxId> sandbox = Optional.empty();

  private volatile Instant started;
  private volatile Instant end;
  private volatile boolean diskOnly;
  private volatile boolean ending;
  private volatile boolean gone;

  /** A resumption that failed has left something running. */
  private volatile boolean leftover;

  private volatile Optional<Future<?>> alarm = Optional.empty();
  private volatile Optional<Future<?>> removal = Optional.empty();

  Hosted(String id, HostedDetail detail, Instant started, Instant end, boolean diskOnly) {
    this.id = id;
    this.detail = detail;
    this.started = started;
    this.end = end;
    this.diskOnly = diskOnly;
  }

  /** What of a time until an end can be kept. */
  static Duration bounded(Duration timeout) {
    if (timeout.isNegative()) {
      return Duration.ZERO;
    }
    return timeout.compareTo(TIMEOUT_MAX) > 0 ? TIMEOUT_MAX : timeout;
  }

  String id() {
    return id;
  }

  HostedDetail detail() {
    return detail;
  }

  WorkspaceName workspace() {
    return new WorkspaceName(id);
  }

  Optional<SandboxId> sandbox() {
    return sandbox;
  }

  /**
   * @throws ForkdException FAILED_PRECONDITION when it is paused
   */
  SandboxId requireRunning() {
    return sandbox.orElseThrow(() ->
        new ForkdException(
            ErrorCode.FAILED_PRECONDITION,
            "sandbox " + id + " is paused; connect to it first, which resumes it"));
  }

  Instant started() {
    return started;
  }

  Instant end() {
    return end;
  }

  boolean diskOnly() {
    return diskOnly;
  }

  /**
   * Whether somebody wants it gone: then nobody finds it any more, whatever still has to be done.
   */
  boolean ending() {
    return ending;
  }

  boolean gone() {
    return gone;
  }

  void ends() {
    ending = true;
    stops();
  }

  boolean leftover() {
    return leftover;
  }

  void leaves(boolean something) {
    leftover = something;
  }

  void runs(SandboxId in, Instant since, Instant until) {
    lives(since, until);
    sandbox = Optional.of(in);
  }

  /** It runs, but nobody can enter it yet: that is, it {@link #goesOn} when all is written down. */
  void lives(Instant since, Instant until) {
    started = since;
    end = until;
    diskOnly = false;
  }

  /** A change of its life before its turn is over: it can no longer be entered. */
  void stops() {
    sandbox = Optional.empty();
    // Those that come from now on see that it has no sandbox.
    stopListeners.forEach(Runnable::run);
    stopListeners.clear();
  }

  /** It could not be stopped, or can be entered again; not by anybody if it is ending meanwhile. */
  void goesOn(SandboxId in) {
    sandbox = Optional.of(in);
    diskOnly = false;
    if (ending) {
      stops();
    }
  }

  void paused(Instant when, boolean withoutMemory) {
    diskOnly = withoutMemory;
    end = when;
  }

  /** It could not be resumed; it keeps whether it has its memory. */
  void paused(Instant since, Instant when) {
    sandbox = Optional.empty();
    started = since;
    end = when;
  }

  /** What it is saved as has no memory that is worth to go on from. */
  void keepsDiskOnly() {
    diskOnly = true;
  }

  void endsAt(Instant when) {
    end = when;
  }

  void goes() {
    gone = true;
    sandbox = Optional.empty();
  }

  /** Replaces what wakes us at its end. */
  void alarm(Optional<Future<?>> next) {
    alarm.ifPresent(former -> former.cancel(false));
    alarm = next;
  }

  /** Replaces what wakes us to remove it; no other change of it does. */
  void removal(Future<?> next) {
    removal.ifPresent(former -> former.cancel(false));
    removal = Optional.of(next);
  }

  Subscription onStop(SandboxId of, Runnable listener) {
    stopListeners.add(listener);
    // It may have stopped just now, and gone on in another, before the listener was there to hear.
    if (!sandbox.equals(Optional.of(of)) && stopListeners.remove(listener)) {
      listener.run();
    }
    return () -> stopListeners.remove(listener);
  }

  /** The right to change it. */
  interface Turn extends AutoCloseable {
    @Override
    void close();
  }

  /**
   * Waits for the right to change it.
   *
   * @throws ForkdException NOT_FOUND when it is gone, ABORTED when its turn does not come
   */
  Turn turn() {
    return turn(TURN_PATIENCE);
  }

  /** As {@link #turn()}, for who only looks: nobody is kept waiting while it is changed. */
  Turn turnAtOnce() {
    return turn(Duration.ZERO);
  }

  private Turn turn(Duration patience) {
    boolean mine;
    try {
      mine = turn.tryLock(patience.toMillis(), TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while waiting for " + id, e);
    }
    if (!mine) {
      throw new ForkdException(
          ErrorCode.ABORTED,
          "sandbox " + id + " is being paused or resumed and does not get done; try again");
    }
    if (gone) {
      turn.unlock();
      throw HostedKeeper.notFound(id);
    }
    return turn::unlock;
  }

  HostedRow row() {
    return new HostedRow(id, detail.toJson(), diskOnly, started.toEpochMilli(), end.toEpochMilli());
  }

  HostedView view() {
    return new HostedView(
        id,
        detail.spec(),
        detail.accessToken(),
        started,
        end,
        sandbox,
        sandbox.isEmpty() && diskOnly,
        1,
        detail.memoryMib(),
        detail.diskMib());
  }
}
