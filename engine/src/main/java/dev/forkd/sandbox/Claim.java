package dev.forkd.sandbox;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Optional;
import java.util.concurrent.locks.Condition;
import org.jspecify.annotations.Nullable;

/**
 * One sandbox's claim on the cores: its requests that wait, and whether its guest has a turn, runs
 * beyond one, or is parked. All fields are guarded by the lock of its {@link Admission}.
 */
final class Claim implements AutoCloseable {
  /** What the scheduler needs of a guest. Called without the scheduler's lock. */
  interface Guest {
    /** Brings the VM in line with {@link Claim#parked}: pauses or resumes it. */
    void settle();

    /** CPU time that the guest has used; empty once it is gone. */
    Optional<Duration> cpu();
  }

  /** A request that waits. */
  static final class Waiter {
    final Condition told;
    final long sinceNanos;

    /** The number of the turn it was let in with; 0 while it waits. */
    long turn;

    @Nullable ForkdException refused;

    Waiter(Condition told, long sinceNanos) {
      this.told = told;
      this.sinceNanos = sinceNanos;
    }
  }

  /** A request that was let in; closing it a second time is harmless. */
  final class Entry {
    private final long turn;
    private boolean closed;

    private Entry(long turn) {
      this.turn = turn;
    }

    /**
     * The request is served.
     *
     * @param background whether something of the user's runs on in the guest
     */
    void close(boolean background) {
      admission.locked(() -> {
        if (!closed) {
          closed = true;
          admission.leave(Claim.this, turn, background);
        }
      });
    }
  }

  private final Admission admission;
  final Guest guest;
  final ArrayDeque<Waiter> queue = new ArrayDeque<>();

  /** Stands in line for a turn. */
  boolean inLine;

  /** Has one of the turns, number {@link #turn}. */
  boolean inTurn;

  long turn;
  long turnBeganNanos;

  /** Requests let in with the present turn and not yet served. */
  int inside;

  /** All requests let in and not yet served. */
  int open;

  boolean background;
  boolean closed;

  /** While above 0 the guest is not parked: it is in the middle of its handshake. */
  int steady;

  /** Kept paused although it has work, until it is its time again. */
  boolean parked;

  /** Ran beyond its turn, or was parked, before it got the present one. */
  boolean lent;

  boolean parkedBefore;

  /** When it was last parked or let run beyond its turn. */
  long sinceNanos;

  /** Uses so little CPU that only its number matters. */
  boolean quiet;

  Duration cpuSeen = Duration.ZERO;
  long cpuSeenNanos;

  Claim(Admission admission, Guest guest) {
    this.admission = admission;
    this.guest = guest;
  }

  /**
   * Waits until the guest may run for one more request.
   *
   * @throws ForkdException RESOURCE_EXHAUSTED when too many wait already, DEADLINE_EXCEEDED when
   *     the turn did not come within {@code patience}, UNAVAILABLE when the sandbox ended meanwhile
   */
  Entry enter(Duration patience) {
    return new Entry(admission.enter(this, patience));
  }

  /** Says whether something of the user's runs although no request is being served. */
  void background(boolean runs) {
    admission.locked(() -> admission.background(this, runs));
  }

  /** Keeps the guest from being parked, or no longer. */
  void steady(boolean on) {
    admission.locked(() -> steady += on ? 1 : -1);
  }

  boolean parked() {
    boolean[] answer = new boolean[1];
    admission.locked(() -> answer[0] = parked);
    return answer[0];
  }

  /** Gives everything up; whoever waits is refused. */
  @Override
  public void close() {
    admission.locked(() -> admission.end(this));
  }

  static ForkdException ended() {
    return new ForkdException(
        ErrorCode.UNAVAILABLE, "the sandbox ended while this request waited for a core");
  }
}
