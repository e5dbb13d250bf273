package dev.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.PriorityQueue;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class AdmissionTest {
  private static final Duration PATIENCE = Duration.ofSeconds(60);
  private static final Duration SECOND = Duration.ofSeconds(1);

  /** Time that passes when the test says so. */
  private static final class ManualTime implements Admission.Alarm {
    private record Task(long atNanos, long order, Runnable work) {}

    private final PriorityQueue<Task> tasks =
        new PriorityQueue<>(Comparator.comparingLong(Task::atNanos).thenComparingLong(Task::order));
    private long nowNanos = 1;
    private long order;

    @Override
    public synchronized void after(Duration delay, Runnable task) {
      tasks.add(new Task(nowNanos + delay.toNanos(), order++, task));
    }

    synchronized long now() {
      return nowNanos;
    }

    private synchronized Optional<Task> next(long untilNanos) {
      Task head = tasks.peek();
      if (head == null || head.atNanos() > untilNanos) {
        nowNanos = untilNanos;
        return Optional.empty();
      }
      nowNanos = Math.max(nowNanos, head.atNanos());
      return Optional.of(tasks.remove());
    }

    void pass(Duration time) {
      long until = now() + time.toNanos();
      for (Optional<Task> task = next(until); task.isPresent(); task = next(until)) {
        task.get().work().run();
      }
    }
  }

  /** A guest that follows the scheduler at once and uses as much CPU as it is told. */
  private final class FakeGuest implements Claim.Guest {
    private final AtomicInteger settled = new AtomicInteger();
    private volatile double share = 1;

    @Override
    public void settle() {
      settled.incrementAndGet();
    }

    @Override
    public Optional<Duration> cpu() {
      return Optional.of(Duration.ofNanos((long) (time.now() * share)));
    }
  }

  private final ManualTime time = new ManualTime();
  private final List<String> letIn = Collections.synchronizedList(new ArrayList<>());
  private final Map<String, Claim.Entry> entries = new ConcurrentHashMap<>();

  private Admission admission(int turns, int queueMax) {
    return new Admission(
        new Admission.Rules(turns, queueMax, 2, 4, SECOND, SECOND), time::now, time, () -> {});
  }

  private final List<Claim> claims = new ArrayList<>();

  private Claim claim(Admission admission) {
    Claim claim = admission.claim(new FakeGuest());
    claims.add(claim);
    return claim;
  }

  @AfterEach
  void refuseWhoStillWaits() {
    claims.forEach(Claim::close);
  }

  /** A request that says under its name when it was let in. */
  private void request(Admission admission, Claim claim, String name) {
    int before = admission.stats().waiting();
    int entered = letIn.size();
    Threads.virtual(
        name,
        () -> {
          try {
            entries.put(name, claim.enter(PATIENCE));
            letIn.add(name);
          } catch (ForkdException e) {
            // The test is over, or shows in what it waits for that this one was not let in.
            return;
          }
        });
    await()
        .atMost(PATIENCE)
        .until(() -> admission.stats().waiting() > before || letIn.size() > entered);
  }

  private void serve(String name) {
    await().atMost(PATIENCE).until(() -> entries.containsKey(name));
    entries.remove(name).close(false);
  }

  /** A sandbox with many requests in line takes turns with the others, whose requests came last. */
  @Test
  void fairOverSandboxesNotRequests() {
    Admission admission = admission(1, 1000);
    Claim hog = claim(admission);
    Claim modest = claim(admission);
    Claim late = claim(admission);
    request(admission, hog, "hog-first");
    request(admission, late, "late-0");
    for (int i = 0; i < 20; i++) {
      request(admission, hog, "hog-" + i);
    }
    request(admission, modest, "modest");
    assertThat(letIn).containsExactly("hog-first");
    serve("hog-first");
    await().atMost(PATIENCE).until(() -> letIn.contains("late-0"));
    serve("late-0");
    await().atMost(PATIENCE).until(() -> letIn.size() == 6);
    // One batch of the hog, and then the modest one is due although it came after all of them.
    assertThat(letIn.subList(2, 6)).allMatch(name -> name.startsWith("hog-"));
    List.copyOf(letIn.subList(2, 6)).forEach(this::serve);
    await().atMost(PATIENCE).until(() -> letIn.contains("modest"));
    assertThat(letIn).hasSize(7);
    serve("modest");
    // Alone, it goes on with as many as go in at once.
    await().atMost(PATIENCE).until(() -> letIn.size() == 7 + 8);
  }

  /** Where nobody else waits, a guest that has a turn serves whatever comes, and at once. */
  @Test
  void servesFurtherRequestsWithinItsTurn() {
    Admission admission = admission(1, 100);
    Claim claim = claim(admission);
    for (int i = 0; i < 8; i++) {
      request(admission, claim, "r" + i);
    }
    assertThat(letIn).hasSize(8);
    assertThat(admission.stats().turns()).isOne();
    // More than that do not go into one guest at once; each that ends lets the next one in.
    request(admission, claim, "r8");
    assertThat(letIn).hasSize(8);
    serve("r3");
    await().atMost(PATIENCE).until(() -> letIn.contains("r8"));
  }

  /**
   * A guest whose turn is long is not locked out by it: its next request waits for those before it
   * in line and then goes in, although all turns are taken.
   */
  @Test
  void requestForARunningGuestNeedsNoFurtherTurn() {
    Admission admission = admission(1, 100);
    Claim busy = claim(admission);
    request(admission, busy, "long");
    request(admission, busy, "ping");
    assertThat(letIn).containsExactly("long", "ping");
    Claim other = claim(admission);
    request(admission, other, "other");
    request(admission, busy, "ping-2");
    assertThat(letIn).hasSize(2);
    time.pass(SECOND);
    await().atMost(PATIENCE).until(() -> letIn.contains("other"));
    serve("other");
    await().atMost(PATIENCE).until(() -> letIn.contains("ping-2"));
  }

  /** The line is bounded; who does not fit is told when to come back. */
  @Test
  void fullLineRefuses() {
    Admission admission = admission(1, 4);
    Claim busy = claim(admission);
    request(admission, busy, "busy");
    Claim first = claim(admission);
    Claim second = claim(admission);
    Claim third = claim(admission);
    request(admission, first, "a0");
    request(admission, first, "a1");
    // One sandbox has at most half of the line.
    assertRefused(first, "for this sandbox");
    request(admission, second, "b0");
    request(admission, third, "c0");
    assertRefused(second, "4 requests wait");
    assertThat(admission.stats().rejected()).isEqualTo(2);
    assertThat(admission.stats().waiting()).isEqualTo(4);
    assertThat(letIn).containsExactly("busy");
    serve("busy");
    await().atMost(PATIENCE).until(() -> letIn.size() == 3);
    request(admission, second, "b1");
  }

  private static void assertRefused(Claim claim, String why) {
    assertThatThrownBy(() -> claim.enter(PATIENCE))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.RESOURCE_EXHAUSTED);
              assertThat(e.details().get(ForkdException.RETRY_AFTER_SECONDS)).matches("[1-9]\\d*");
              assertThat(e).hasMessageContaining(why).hasMessageContaining("Try again in");
            });
  }

  /** A wait ends at its deadline, and its place with it. */
  @Test
  void waitsHaveADeadline() {
    Admission admission = admission(1, 10);
    Claim busy = claim(admission);
    Claim other = claim(admission);
    request(admission, busy, "busy");
    assertThatThrownBy(() -> other.enter(Duration.ofMillis(30)))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DEADLINE_EXCEEDED))
        .hasMessageContaining("nothing was run");
    assertThat(admission.stats().waiting()).isZero();
    assertThat(admission.stats().expired()).isOne();
    serve("busy");
    request(admission, other, "other");
    assertThat(letIn).contains("other");
  }

  /** Who is interrupted while waiting gives its place up, and nobody behind it is lost. */
  @Test
  void interruptedWaitsGiveUpTheirPlace() throws Exception {
    Admission admission = admission(1, 10);
    Claim busy = claim(admission);
    Claim gone = claim(admission);
    Claim next = claim(admission);
    request(admission, busy, "busy");
    Thread waiter =
        Threads.virtual(
            "gone",
            () -> assertThatThrownBy(() -> gone.enter(PATIENCE)).hasMessageContaining("interrupt"));
    await().atMost(PATIENCE).until(() -> admission.stats().waiting() == 1);
    request(admission, next, "next");
    waiter.interrupt();
    waiter.join();
    assertThat(admission.stats().waiting()).isOne();
    serve("busy");
    await().atMost(PATIENCE).until(() -> letIn.contains("next"));
  }

  /** The requests of a sandbox that ends are refused, and its turn goes to the next one. */
  @Test
  void endedSandboxLetsGo() {
    Admission admission = admission(1, 10);
    Claim killed = claim(admission);
    Claim next = claim(admission);
    request(admission, killed, "inside");
    request(admission, next, "next");
    var refusal = new java.util.concurrent.CompletableFuture<Throwable>();
    Threads.virtual(
        "waits",
        () -> {
          try {
            killed.enter(PATIENCE).close(false);
          } catch (ForkdException e) {
            refusal.complete(e);
          }
        });
    await().atMost(PATIENCE).until(() -> admission.stats().waiting() == 2);
    killed.close();
    assertThat(refusal.orTimeout(60, java.util.concurrent.TimeUnit.SECONDS).join())
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.UNAVAILABLE));
    await().atMost(PATIENCE).until(() -> letIn.contains("next"));
    serve("inside");
    assertThat(admission.stats().turns()).isOne();
    assertThat(admission.stats().overtime()).isZero();
    assertThatThrownBy(() -> killed.enter(PATIENCE)).isInstanceOf(ForkdException.class);
  }

  /**
   * However many guests compute beyond their turns, no more than the bound run; the others are
   * parked, and all get their share.
   */
  @Test
  void overtimeIsBoundedAndRotates() {
    Admission admission = admission(1, 100);
    Map<Claim, Integer> ran = new HashMap<>();
    for (int i = 0; i < 6; i++) {
      Claim claim = claim(admission);
      ran.put(claim, 0);
      request(admission, claim, "long-" + i);
      time.pass(SECOND);
    }
    time.pass(SECOND);
    for (int slice = 0; slice < 30; slice++) {
      time.pass(SECOND);
      assertThat(admission.stats().overtime()).isEqualTo(2);
      assertThat(admission.stats().parked()).isEqualTo(4);
      ran.forEach((claim, count) -> {
        if (!claim.parked()) {
          ran.put(claim, count + 1);
        }
      });
    }
    assertThat(ran.values()).allMatch(count -> count >= 9 && count <= 11, "a third of the time");
    // A parked guest that is asked for something gets a turn like any other.
    Claim parked = ran.keySet().stream().filter(Claim::parked).findFirst().orElseThrow();
    request(admission, parked, "ping");
    assertThat(letIn).contains("ping");
    assertThat(parked.parked()).isFalse();
  }

  /** Guests that hardly compute are not parked for those that do, but their number is bounded. */
  @Test
  void quietGuestsAreLeftAlone() {
    Admission admission = admission(1, 100);
    List<Claim> quiet = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      FakeGuest guest = new FakeGuest();
      guest.share = 0.01;
      Claim claim = admission.claim(guest);
      claims.add(claim);
      quiet.add(claim);
      request(admission, claim, "sleeps-" + i);
      entries.remove("sleeps-" + i).close(true);
    }
    time.pass(SECOND.multipliedBy(8));
    assertThat(quiet).noneMatch(Claim::parked);
    Claim fifth = claim(admission);
    request(admission, fifth, "fifth");
    entries.remove("fifth").close(true);
    time.pass(SECOND.multipliedBy(2));
    assertThat(admission.stats().overtime()).isEqualTo(4);
    assertThat(admission.stats().parked()).isOne();
    // What ends in the background makes room.
    quiet.forEach(claim -> claim.background(false));
    fifth.background(false);
    assertThat(admission.stats().overtime() + admission.stats().parked()).isZero();
  }

  /** A guest in the middle of its handshake is not parked. */
  @Test
  void steadyGuestsAreNotParked() {
    Admission admission = admission(1, 100);
    for (int i = 0; i < 5; i++) {
      Claim claim = claim(admission);
      claim.steady(i == 0);
      request(admission, claim, "long-" + i);
      time.pass(SECOND);
    }
    for (int slice = 0; slice < 10; slice++) {
      time.pass(SECOND);
      assertThat(claims.getFirst().parked()).isFalse();
    }
  }

  /** Seeded stress: whatever the order of events, nobody is forgotten and nothing is left. */
  @Test
  void noWakeUpIsLost() throws Exception {
    long seed = System.nanoTime();
    System.out.println("AdmissionTest.noWakeUpIsLost seed " + seed);
    try (Admission admission =
        new Admission(
            new Admission.Rules(2, 64, 2, 4, Duration.ofMillis(5), Duration.ofMillis(10)))) {
      for (int i = 0; i < 20; i++) {
        var _ = claim(admission);
      }
      AtomicInteger served = new AtomicInteger();
      AtomicInteger refused = new AtomicInteger();
      AtomicInteger late = new AtomicInteger();
      AtomicInteger interrupted = new AtomicInteger();
      List<Thread> clients = new ArrayList<>();
      for (int c = 0; c < 100; c++) {
        Random random = new Random(seed + c);
        clients.add(
            Threads.virtual(
                "client-" + c,
                () -> {
                  for (int i = 0; i < 100; i++) {
                    Claim claim = claims.get(random.nextInt(claims.size()));
                    boolean hasty = random.nextInt(10) == 0;
                    if (random.nextInt(20) == 0) {
                      Thread.currentThread().interrupt();
                    }
                    try {
                      Claim.Entry entry =
                          claim.enter(hasty ? Duration.ofNanos(random.nextInt(100_000)) : PATIENCE);
                      LockSupport.parkNanos(random.nextInt(20) == 0 ? 8_000_000 : 50_000);
                      entry.close(random.nextInt(10) == 0);
                      claim.background(false);
                      served.incrementAndGet();
                    } catch (ForkdException e) {
                      (switch (e.code()) {
                            case RESOURCE_EXHAUSTED -> refused;
                            case DEADLINE_EXCEEDED -> late;
                            default -> interrupted;
                          })
                          .incrementAndGet();
                    }
                    Thread.interrupted();
                  }
                }));
      }
      for (Thread client : clients) {
        assertThat(client.join(PATIENCE)).as("seed " + seed).isTrue();
      }
      assertThat(served.get() + refused.get() + late.get() + interrupted.get()).isEqualTo(10_000);
      assertThat(served.get()).isGreaterThan(1000);
      var stats = admission.stats();
      assertThat(List.of(stats.waiting(), stats.turns(), stats.overtime(), stats.parked()))
          .as("seed " + seed)
          .containsOnly(0);
      assertThat(stats.rejected()).isEqualTo(refused.get());
      assertThat(stats.expired()).isEqualTo(late.get());
    }
  }
}
