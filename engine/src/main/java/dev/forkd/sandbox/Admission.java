package dev.forkd.sandbox;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.EngineStats;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongSupplier;

/**
 * Lets about one busy emulated guest run per core; the others wait in line. Without it a hundred
 * guests that all begin at once livelock each other with timer ticks.
 *
 * <p>The line is of sandboxes, not of requests: whoever has a thousand requests waiting stands in
 * it once. At the head of the line a sandbox takes a turn, and with it up to {@link #BATCH} of its
 * requests; the rest stand in line again, behind the others. A guest that has a turn when it
 * reaches the head lets further requests in with the turn it has, so where nobody else waits
 * nothing waits.
 *
 * <p>A turn ends with its last request, and at the latest after {@link Rules#turn}. What takes
 * longer goes on beyond the turn, so that a few long commands cannot keep everybody else out; how
 * many guests do is bounded by {@link Overtime}.
 *
 * <p>The line is bounded, and so is one sandbox's share of it; every wait has a deadline. There is
 * one lock, held for short computations only.
 */
public final class Admission implements AutoCloseable {
  /** Requests that a sandbox takes along with each place in the line. */
  private static final int BATCH = 4;

  /** Requests of one turn that are in the guest at once. */
  private static final int INSIDE_MAX = 8;

  /** A guess at how long a turn takes until some were seen. */
  private static final double FIRST_TURN_MILLIS = 20;

  private static final int RETRY_AFTER_SECONDS_MAX = 60;

  /**
   * The numbers it goes by.
   *
   * @param turns guests that have a turn at once
   * @param queueMax requests that wait; more are refused. One sandbox may have half of them.
   * @param busyMax guests that compute beyond their turns at once
   * @param overtimeMax guests that run beyond their turns at once, with those that hardly compute
   * @param turn longest turn
   * @param slice how long a guest beyond its turn runs, or stays parked at least, when there are
   *     too many
   */
  public record Rules(
      int turns, int queueMax, int busyMax, int overtimeMax, Duration turn, Duration slice) {
    /** For a host with {@code cores}. */
    public static Rules of(int cores, int queueMax) {
      return new Rules(
          cores, queueMax, 3 * cores, 16 * cores, Duration.ofSeconds(1), Duration.ofSeconds(1));
    }

    int queueMaxOfOne() {
      return Math.max(1, queueMax / 2);
    }
  }

  /** Runs things later; a test has one of its own. */
  interface Alarm {
    void after(Duration delay, Runnable task);
  }

  private final Rules rules;
  private final LongSupplier nanoClock;
  private final Alarm alarm;
  private final Runnable stop;
  private final Overtime overtime;
  private final WaitTimes waits = new WaitTimes();
  private final ReentrantLock lock = new ReentrantLock();
  private final ArrayDeque<Claim> line = new ArrayDeque<>();
  private int turns;
  private long turnsBegun;
  private double turnMillis = FIRST_TURN_MILLIS;
  private int waiting;
  private long rejected;
  private long expired;

  public Admission(Rules rules) {
    this(rules, Threads.clock("admission"));
  }

  private Admission(Rules rules, ScheduledExecutorService clock) {
    this(
        rules,
        System::nanoTime,
        (delay, task) -> {
          if (!clock.isShutdown()) {
            var _ = clock.schedule(task, delay.toNanos(), TimeUnit.NANOSECONDS);
          }
        },
        clock::shutdownNow);
  }

  Admission(Rules rules, LongSupplier nanoClock, Alarm alarm, Runnable stop) {
    this.rules = rules;
    this.nanoClock = nanoClock;
    this.alarm = alarm;
    this.stop = stop;
    this.overtime = new Overtime(rules, nanoClock);
  }

  /** A claim for a new sandbox; close it with the sandbox. */
  Claim claim(Claim.Guest guest) {
    return new Claim(this, guest);
  }

  /** Counts at this moment. */
  public EngineStats.Admission stats() {
    lock.lock();
    try {
      return new EngineStats.Admission(
          waiting,
          rules.queueMax(),
          turns,
          overtime.running(),
          overtime.parked(),
          rejected,
          expired,
          waits.histogram());
    } finally {
      lock.unlock();
    }
  }

  /** Whether some request has to wait for a core, so that nothing optional should use one. */
  public boolean contended() {
    lock.lock();
    try {
      return waiting > 0 || turns >= rules.turns();
    } finally {
      lock.unlock();
    }
  }

  void locked(Runnable work) {
    lock.lock();
    try {
      work.run();
    } finally {
      lock.unlock();
    }
  }

  /** Gives the number of the turn that the request was let in with. */
  long enter(Claim claim, Duration patience) {
    lock.lock();
    try {
      if (claim.closed) {
        throw Claim.ended();
      }
      refuseIfFull(claim);
      Claim.Waiter waiter = new Claim.Waiter(lock.newCondition(), nanoClock.getAsLong());
      claim.queue.add(waiter);
      waiting++;
      standInLine(claim);
      advance();
      await(claim, waiter, patience);
      return waiter.turn;
    } finally {
      lock.unlock();
    }
  }

  private void refuseIfFull(Claim claim) {
    boolean atOnce =
        claim.queue.isEmpty()
            && line.isEmpty()
            && (claim.inTurn ? claim.inside < INSIDE_MAX : turns < rules.turns());
    boolean full = waiting >= rules.queueMax();
    boolean share = claim.queue.size() >= rules.queueMaxOfOne();
    if (atOnce || !(full || share)) {
      return;
    }
    rejected++;
    int seconds = retryAfterSeconds(full ? waiting : claim.queue.size());
    throw new ForkdException(
        ErrorCode.RESOURCE_EXHAUSTED,
        (full
                ? waiting + " requests wait for a core already, the most this daemon queues"
                : claim.queue.size()
                    + " requests for this sandbox wait for a core already, the most one sandbox"
                    + " may have")
            + "; nothing was run. Try again in "
            + seconds
            + " s, send fewer requests at once, or raise 'forkd serve --queue'",
        Map.of(ForkdException.RETRY_AFTER_SECONDS, Integer.toString(seconds)),
        null);
  }

  /** When those that wait now will be through, by the turns of late. */
  private int retryAfterSeconds(int ahead) {
    double seconds = ahead * turnMillis / 1000 / rules.turns();
    return (int) Math.clamp(Math.ceil(seconds), 1, RETRY_AFTER_SECONDS_MAX);
  }

  private void await(Claim claim, Claim.Waiter waiter, Duration patience) {
    long left = patience.toNanos();
    try {
      while (waiter.turn == 0 && waiter.refused == null) {
        if (left <= 0) {
          withdraw(claim, waiter);
          expired++;
          throw new ForkdException(
              ErrorCode.DEADLINE_EXCEEDED,
              "no core was free for this sandbox within "
                  + patience.toMillis()
                  + " ms, and nothing was run; "
                  + waiting
                  + " other requests wait too. Try again later, allow more time, or run fewer at"
                  + " once");
        }
        left = waiter.told.awaitNanos(left);
      }
    } catch (InterruptedException e) {
      if (waiter.turn != 0) {
        leave(claim, waiter.turn, claim.background);
      } else if (waiter.refused == null) {
        withdraw(claim, waiter);
      }
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while waiting for a core", e);
    }
    if (waiter.refused != null) {
      throw waiter.refused;
    }
  }

  private void withdraw(Claim claim, Claim.Waiter waiter) {
    claim.queue.remove(waiter);
    waiting--;
    if (claim.queue.isEmpty()) {
      leaveLine(claim);
    }
  }

  private void standInLine(Claim claim) {
    boolean full = claim.inTurn && claim.inside >= INSIDE_MAX;
    if (!claim.inLine && !claim.queue.isEmpty() && !full) {
      claim.inLine = true;
      line.add(claim);
    }
  }

  private void leaveLine(Claim claim) {
    if (claim.inLine) {
      claim.inLine = false;
      line.remove(claim);
    }
  }

  /** Lets in whoever can be let in. Whatever frees something ends with this. */
  private void advance() {
    Claim head = line.peek();
    while (head != null && (head.inTurn || turns < rules.turns())) {
      leaveLine(head);
      if (!head.inTurn) {
        beginTurn(head);
      }
      for (int i = 0; i < BATCH && head.inside < INSIDE_MAX && !head.queue.isEmpty(); i++) {
        letIn(head, head.queue.remove());
      }
      standInLine(head);
      head = line.peek();
    }
  }

  private void beginTurn(Claim claim) {
    // Its guest may be parked; the request that is let in now resumes it.
    overtime.lend(claim);
    turns++;
    turnsBegun++;
    claim.inTurn = true;
    claim.inside = 0;
    claim.turn = turnsBegun;
    claim.turnBeganNanos = nanoClock.getAsLong();
    long number = claim.turn;
    alarm.after(
        rules.turn(),
        () ->
            locked(() -> {
              if (claim.inTurn && claim.turn == number) {
                endTurn(claim);
                advance();
              }
            }));
  }

  private void letIn(Claim claim, Claim.Waiter waiter) {
    waiting--;
    claim.inside++;
    claim.open++;
    waits.record(Duration.ofNanos(nanoClock.getAsLong() - waiter.sinceNanos));
    waiter.turn = claim.turn;
    waiter.told.signal();
  }

  private void endTurn(Claim claim) {
    double millis = (nanoClock.getAsLong() - claim.turnBeganNanos) / 1e6;
    turnMillis += (millis - turnMillis) / 16;
    turns--;
    claim.inTurn = false;
    claim.inside = 0;
    standInLine(claim);
    judgeOvertime(claim);
  }

  private void judgeOvertime(Claim claim) {
    if (claim.inTurn || claim.closed || !(claim.open > 0 || claim.background)) {
      overtime.remove(claim);
    } else if (overtime.add(claim)) {
      Threads.virtual("park", claim.guest::settle);
    }
    if (overtime.needsCheck()) {
      alarm.after(Overtime.CHECK_DELAY, () -> checkOvertime(false));
    }
  }

  private void checkOvertime(boolean rotation) {
    List<Claim> measured;
    lock.lock();
    try {
      measured = overtime.toMeasure();
    } finally {
      lock.unlock();
    }
    List<Overtime.Use> uses =
        measured.stream()
            .map(claim -> new Overtime.Use(claim, claim.guest.cpu(), nanoClock.getAsLong()))
            .toList();
    List<Claim> changed;
    lock.lock();
    try {
      changed = overtime.check(uses, rotation);
      if (overtime.needsRotation()) {
        alarm.after(rules.slice(), () -> checkOvertime(true));
      }
    } finally {
      lock.unlock();
    }
    changed.forEach(claim -> Threads.virtual("park", claim.guest::settle));
  }

  /** A request was served. */
  void leave(Claim claim, long turn, boolean background) {
    claim.open--;
    claim.background = background;
    if (claim.inTurn && claim.turn == turn) {
      claim.inside--;
      standInLine(claim);
    }
    if (claim.inTurn && claim.open == 0) {
      endTurn(claim);
    } else {
      judgeOvertime(claim);
    }
    advance();
  }

  void background(Claim claim, boolean runs) {
    if (claim.background != runs) {
      claim.background = runs;
      judgeOvertime(claim);
    }
  }

  /** The sandbox is gone. */
  void end(Claim claim) {
    if (claim.closed) {
      return;
    }
    claim.closed = true;
    leaveLine(claim);
    for (Claim.Waiter waiter : claim.queue) {
      waiting--;
      waiter.refused = Claim.ended();
      waiter.told.signal();
    }
    claim.queue.clear();
    if (claim.inTurn) {
      endTurn(claim);
    } else {
      judgeOvertime(claim);
    }
    advance();
  }

  @Override
  public void close() {
    stop.run();
  }
}
