package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.Threads;
import dev.forkd.sdk.Command;
import dev.forkd.sdk.ForkOptions;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Far more work than cores, through a real daemon. With {@code FORKD_TEST_ALL} it is 200 clients on
 * 100 sandboxes for five minutes, without it a fifth of that for some seconds.
 */
class CrowdSystemTest {
  private static final boolean ALL = "1".equals(System.getenv("FORKD_TEST_ALL"));
  private static final int SANDBOXES = ALL ? 100 : 20;
  private static final int CLIENTS = 2 * SANDBOXES;
  private static final Duration LENGTH = ALL ? Duration.ofMinutes(5) : Duration.ofSeconds(10);
  private static final Duration STUCK = Duration.ofSeconds(60);

  @BeforeEach
  void bake() {
    Lab.clean(Lab.engine());
  }

  @AfterEach
  void clean() {
    Lab.clean(Lab.engine());
  }

  /** What a process and its data directory hold. */
  private record Held(long threads, long files, int vmms, long sockets) {
    static Held of(Daemon daemon) throws IOException {
      return new Held(
          threads(daemon.pid()),
          count(Path.of("/proc/" + daemon.pid() + "/fd")),
          Lab.vmms().size(),
          count(Files.readSymbolicLink(Lab.DATA_DIR.resolve("run"))));
    }

    /** Without those that the JVM makes and ends as it likes: carriers, compilers, reapers. */
    private static long threads(long pid) throws IOException {
      try (Stream<Path> tasks = Files.list(Path.of("/proc/" + pid + "/task"))) {
        return tasks
            .map(Held::name)
            .filter(
                name -> !name.matches("(ForkJoinPool|G1|GC|C1|C2|VM|Parallel|process reaper).*"))
            .count();
      }
    }

    private static String name(Path task) {
      try {
        return Files.readString(task.resolve("comm")).strip();
      } catch (IOException e) {
        return "gone";
      }
    }

    private static long count(Path folder) throws IOException {
      try (Stream<Path> entries = Files.list(folder)) {
        return entries.count();
      }
    }

    boolean noMoreThan(Held before) {
      // Pooled connections come and go.
      return threads <= before.threads + 4
          && files <= before.files + 16
          && vmms <= before.vmms
          && sockets <= before.sockets;
    }
  }

  /** What the clients saw. */
  private static final class Results {
    final ConcurrentLinkedQueue<long[]> nanosByKind = new ConcurrentLinkedQueue<>();
    final Map<String, AtomicInteger> served = new ConcurrentHashMap<>();
    final AtomicInteger refused = new AtomicInteger();
    final ConcurrentLinkedQueue<String> errors = new ConcurrentLinkedQueue<>();
  }

  private static final List<String> KINDS = List.of("eval", "exec", "write", "read", "ping");

  private static void ask(Sandbox sandbox, int kind) {
    switch (kind) {
      case 0 -> assertThat(sandbox.eval("6 * 7").result()).contains("42");
      case 1 -> assertThat(sandbox.exec("true").exitCode()).isZero();
      case 2 -> sandbox.files().writeText("/tmp/note", "a note");
      case 3 -> assertThat(sandbox.files().readText("/etc/hostname")).isNotEmpty();
      default -> assertThat(sandbox.ping().pong()).isTrue();
    }
  }

  private static void client(int number, long seed, List<Sandbox> all, Results results, long end) {
    Random random = new Random(seed + number);
    Sandbox sandbox = all.get(number % all.size());
    while (System.nanoTime() < end) {
      int kind = random.nextInt(KINDS.size());
      long begin = System.nanoTime();
      try {
        ask(sandbox, kind);
        results.served.get(sandbox.id()).incrementAndGet();
        results.nanosByKind.add(new long[] {kind, System.nanoTime() - begin});
      } catch (ForkdApiException e) {
        if (e.status() == 503 && e.code() == ErrorCode.RESOURCE_EXHAUSTED) {
          results.refused.incrementAndGet();
          pause(Duration.ofSeconds(1));
        } else {
          results.errors.add(KINDS.get(kind) + ": " + e.status() + " " + e.message());
        }
      } catch (AssertionError | RuntimeException e) {
        results.errors.add(KINDS.get(kind) + ": " + e);
      }
    }
  }

  private static void pause(Duration length) {
    try {
      Thread.sleep(length);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static double millis(List<Long> sorted, double part) {
    return sorted.get((int) Math.min(sorted.size() - 1, (long) (sorted.size() * part))) / 1e6;
  }

  private static void print(Results results, Duration length) {
    Map<String, List<Long>> nanos = new TreeMap<>();
    results.nanosByKind.forEach(one -> {
      nanos.computeIfAbsent("all", _ -> new ArrayList<>()).add(one[1]);
      nanos.computeIfAbsent(KINDS.get((int) one[0]), _ -> new ArrayList<>()).add(one[1]);
    });
    nanos.forEach((kind, list) -> {
      list.sort(null);
      System.out.printf(
          "crowd: %-5s %6d served, p50 %.0f ms, p99 %.0f ms (%.1f x), max %.0f ms%n",
          kind,
          list.size(),
          millis(list, 0.5),
          millis(list, 0.99),
          millis(list, 0.99) / millis(list, 0.5),
          millis(list, 1));
    });
    int[] each = results.served.values().stream().mapToInt(AtomicInteger::get).sorted().toArray();
    System.out.printf(
        "crowd: %d clients on %d sandboxes for %d s; %.0f requests/s, %d refused with 503;"
            + " served per sandbox %d to %d%n",
        CLIENTS,
        SANDBOXES,
        length.toSeconds(),
        nanos.getOrDefault("all", List.of()).size() / (double) length.toSeconds(),
        results.refused.get(),
        each[0],
        each[each.length - 1]);
  }

  /** Nobody is starved, nothing gets stuck, and nothing is left behind. */
  @Test
  @Timeout(900)
  void everybodyIsServed() throws Exception {
    long seed = System.nanoTime();
    System.out.println("crowd: seed " + seed);
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      forkd.fork("python").kill();
      Held before = Held.of(daemon);
      List<Sandbox> all = forkd.fork("python", ForkOptions.of(SANDBOXES));
      Results results = new Results();
      all.forEach(sandbox -> results.served.put(sandbox.id(), new AtomicInteger()));
      long end = System.nanoTime() + LENGTH.toNanos();
      List<Thread> clients = new ArrayList<>();
      for (int i = 0; i < CLIENTS; i++) {
        int number = i;
        clients.add(Threads.virtual("client-" + i, () -> client(number, seed, all, results, end)));
      }
      long late = end + STUCK.toNanos();
      for (Thread client : clients) {
        client.join(Duration.ofNanos(Math.max(1, late - System.nanoTime())));
      }
      long stuck = clients.stream().filter(Thread::isAlive).count();
      print(results, LENGTH);
      forkd
          .metrics()
          .lines()
          .filter(line -> line.startsWith("forkd_admission") && !line.contains("bucket"))
          .forEach(line -> System.out.println("crowd: " + line));
      assertThat(results.errors).as("seed " + seed).isEmpty();
      assertThat(stuck).as("requests stuck, seed " + seed).isZero();
      assertThat(results.nanosByKind).allMatch(one -> one[1] < STUCK.toNanos());
      assertThat(results.served.values()).allMatch(count -> count.get() > 0);
      all.forEach(Sandbox::kill);
      System.out.println("crowd: before " + before + ", after " + Held.of(daemon));
      await()
          .atMost(Duration.ofMinutes(2))
          .untilAsserted(() -> assertThat(Held.of(daemon)).matches(now -> now.noMoreThan(before)));
      System.out.println("crowd: at rest " + Held.of(daemon));
    }
  }

  /**
   * Guests that compute in the background do not add up: no more run than the cores bear, all of
   * them get on, and whoever asks for something meanwhile is served.
   */
  @Test
  @Timeout(300)
  void backgroundWorkIsBounded() throws Exception {
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      int cores = Math.max(2, Runtime.getRuntime().availableProcessors());
      List<Sandbox> all = forkd.fork("python", ForkOptions.of(6 * cores));
      String loop = "while :; do printf . >> /tmp/n; done";
      all.forEach(sandbox -> sandbox.exec(Command.shell("(" + loop + ") >/dev/null 2>&1 &")));
      await()
          .atMost(Duration.ofSeconds(60))
          .until(() -> gauge(forkd, "forkd_admission_parked") >= all.size() - 3L * cores - 1);
      long[] first = counted(all);
      long[] pings = new long[20];
      for (int i = 0; i < pings.length; i++) {
        long begin = System.nanoTime();
        assertThat(all.get(i % all.size()).ping().pong()).isTrue();
        pings[i] = System.nanoTime() - begin;
      }
      Arrays.sort(pings);
      System.out.printf(
          "crowd: %d guests compute in the background, %d run, %d are parked; a ping takes %.0f ms"
              + " (median), %.0f ms (longest)%n",
          all.size(),
          gauge(forkd, "forkd_admission_overtime"),
          gauge(forkd, "forkd_admission_parked"),
          pings[10] / 1e6,
          pings[19] / 1e6);
      assertThat(gauge(forkd, "forkd_admission_overtime")).isLessThanOrEqualTo(3L * cores + 1);
      long[] second = first;
      for (int round = 0; round < 4 && !allMore(first, second); round++) {
        pause(Duration.ofSeconds(5));
        second = counted(all);
      }
      for (int i = 0; i < first.length; i++) {
        assertThat(second[i]).as("sandbox " + i + " got on").isGreaterThan(first[i]);
      }
      all.forEach(Sandbox::kill);
      await()
          .atMost(Duration.ofSeconds(60))
          .untilAsserted(() -> {
            assertThat(gauge(forkd, "forkd_admission_overtime")).isZero();
            assertThat(gauge(forkd, "forkd_admission_parked")).isZero();
          });
    }
  }

  private static boolean allMore(long[] before, long[] now) {
    return IntStream.range(0, before.length).allMatch(i -> now[i] > before[i]);
  }

  private static long[] counted(List<Sandbox> all) {
    return all.stream()
        .mapToLong(sandbox ->
            Long.parseLong(sandbox.exec(Command.shell("wc -c < /tmp/n")).stdout().strip()))
        .toArray();
  }

  private static long gauge(Forkd forkd, String name) {
    return forkd
        .metrics()
        .lines()
        .filter(line -> line.startsWith(name + " "))
        .mapToLong(line -> Long.parseLong(line.substring(name.length() + 1)))
        .findFirst()
        .orElseThrow();
  }
}
