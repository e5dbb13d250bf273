package dev.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.Certificate;
import dev.forkd.testkit.FakeGuest;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.awaitility.core.ConditionTimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** How well a guest's clock is known, and what is done when that is not well enough. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class GuestClockTest {
  private static final long MILLI = 1_000_000;
  private static final int ROUNDS = 5;

  /** For what must happen, however busy the machine is. */
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  private static final Duration LATE = Duration.ofMillis(300);

  @TempDir Path root;

  /**
   * What a reading proves: behind by what is not accounted for, ahead or far behind for certain.
   */
  @Test
  void readings() {
    // Set to 1000 when it arrived, read 1020 after 20 ms of work, and known 4 ms later at most.
    assertThat(ClockReading.of(1000 * MILLI, 1020 * MILLI, 1024 * MILLI))
        .isEqualTo(new ClockReading(-2 * MILLI, 4 * MILLI));
    // The message took almost a second, or the answer did.
    assertThat(ClockReading.of(1000 * MILLI, 1010 * MILLI, 2000 * MILLI).errorMaxNanos())
        .isEqualTo(990 * MILLI);
    // No message arrives before it is sent, and no answer after it was read.
    assertThat(ClockReading.of(1000 * MILLI, 400 * MILLI, 1010 * MILLI))
        .isEqualTo(new ClockReading(-605 * MILLI, 610 * MILLI));
    assertThat(ClockReading.of(1000 * MILLI, 1200 * MILLI, 1010 * MILLI))
        .isEqualTo(new ClockReading(195 * MILLI, 200 * MILLI));
  }

  /** What follows from a reading: that a clock is right, that it is wrong, or nothing. */
  @ParameterizedTest
  @CsvSource({
    "1020, 1045, true, false",
    "1000, 1050, true, false",
    "900, 1010, false, true",
    "980, 1060, false, true",
    "1200, 1210, true, false",
    "1200, 1010, false, true",
    "1010, 1200, false, false",
    // Wrong by 2 at least: to set it could make it worse.
    "998, 1100, false, false"
  })
  void conclusions(long guest, long received, boolean right, boolean off) {
    ClockReading reading = ClockReading.of(1000 * MILLI, guest * MILLI, received * MILLI);
    assertThat(reading.right()).isEqualTo(right);
    assertThat(reading.off()).isEqualTo(off);
  }

  /**
   * A host that stalls in the handshake costs the child a few questions: neither its life, nor its
   * epoch anew.
   */
  @Test
  void aStalledHandshakeIsReadAgain() throws IOException {
    try (Workbench bench = new Workbench(root).withBase()) {
      Sandbox sandbox = bench.sandbox();
      FakeGuest guest = bench.guest(sandbox).stalled(LATE, 3);
      sandbox.enter().close();
      assertRight(sandbox, guest);
      assertThat(guest.asked()).containsOnlyOnce("epoch").contains("clock");
      assertThat(guest.clockFrames()).as("how often it was set").isPositive();
    }
  }

  /**
   * An answer that is late says nothing against the clock, which is not set for it. A stall of this
   * host on top may say so by chance, but not each time.
   */
  @Test
  void aLateAnswerIsNoWrongClock() throws IOException {
    try (Workbench bench = new Workbench(root).withBase()) {
      int set = 1;
      for (int round = 0; set > 0 && round < ROUNDS; round++) {
        Sandbox sandbox = bench.sandbox();
        FakeGuest guest = bench.guest(sandbox);
        guest.on("epoch", request -> late(Optional.of(guest.proof(request))));
        sandbox.enter().close();
        assertRight(sandbox, guest);
        assertThat(guest.asked()).containsOnlyOnce("epoch").contains("clock");
        set = guest.clockFrames();
      }
      assertThat(set).as("how often it was set").isZero();
    }
  }

  /** The agent of an older template tells its time with an epoch only: that is begun again. */
  @Test
  void aStalledHandshakeWithAnOlderAgent() throws IOException {
    try (Workbench bench = new Workbench(root).withBase()) {
      Sandbox sandbox = bench.sandbox();
      FakeGuest guest = bench.guest(sandbox).old().stalled(LATE, 4);
      sandbox.enter().close();
      assertRight(sandbox, guest);
      assertThat(Collections.frequency(guest.asked(), "epoch")).isGreaterThanOrEqualTo(3);
      assertThat(guest.asked()).containsOnlyOnce("clock");
    }
  }

  private static Optional<Map<String, ?>> late(Optional<Map<String, ?>> answer) {
    try {
      Thread.sleep(LATE);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
    return answer;
  }

  /** Its clock is, and its certificate says how right. */
  private static void assertRight(Sandbox sandbox, FakeGuest guest) {
    Certificate certificate = sandbox.record().certificate();
    assertThat(guest.clockOffset().abs()).isLessThan(Duration.ofMillis(51));
    assertThat(certificate.clockErrorMaxMillis().orElseThrow())
        .isBetween(guest.clockOffset().abs().toMillis(), 50L);
    assertThat(certificate.clockOffsetMillis().orElseThrow()).isBetween(-50L, 0L);
  }

  /** A clock that is wrong however often it is set is no clock to be served with. */
  @Test
  void aClockThatStaysWrongIsRefused() throws IOException {
    try (Workbench bench = new Workbench(root).withBase()) {
      Sandbox sandbox = bench.sandbox();
      FakeGuest guest = bench.guest(sandbox);
      guest.on(
          "epoch",
          request -> {
            Map<String, Object> proof = new HashMap<>(guest.proof(request));
            proof.put("clockNanos", request.path("timeNanos").asLong() - 200 * MILLI);
            return Optional.of(proof);
          });
      guest.on(
          "clock", _ -> Optional.of(Map.of("clockNanos", Handshake.unixNanos() - 200 * MILLI)));
      assertThatThrownBy(sandbox::enter)
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.ABORTED);
                assertThat(e.message()).contains("its clock may be off by ", "10 times");
                // It is by 200 ms, and by what its answer took.
                assertThat(Integer.parseInt(e.message().replaceAll(".*off by (\\d+) ms.*", "$1")))
                    .isGreaterThanOrEqualTo(200);
              });
      assertThat(sandbox.view(false).state()).isEqualTo("failed");
      assertThat(sandbox.vm().exit()).succeedsWithin(PATIENCE);
    }
  }

  /** A step that is late after a pause is noticed, though nobody asks the guest anything. */
  @ParameterizedTest
  @CsvSource({"false, clock", "true, status"})
  void aLateStepIsRepeated(boolean old, String asked) throws IOException {
    try (Workbench bench = Workbench.pausing(root).withBase()) {
      Sandbox sandbox = bench.sandbox();
      FakeGuest guest = bench.guest(sandbox);
      if (old) {
        guest.old();
      }
      sandbox.enter().close();
      boolean right = false;
      // It is given up after a while on a host that goes on stalling.
      for (int i = 0; i < ROUNDS && !right; i++) {
        right = lateStepIsRepeated(sandbox, guest, asked);
      }
      assertThat(right).isTrue();
    }
  }

  private static boolean lateStepIsRepeated(Sandbox sandbox, FakeGuest guest, String question) {
    await().atMost(PATIENCE).until(() -> sandbox.view(false).state().equals("idle"));
    long asked = Collections.frequency(guest.asked(), question);
    guest.stalled(LATE, 1);
    try (Sandbox.Session _ = sandbox.enter()) {
      await().atMost(PATIENCE).until(() -> Collections.frequency(guest.asked(), question) > asked);
      await()
          .atMost(Duration.ofSeconds(10))
          .until(() -> guest.clockOffset().abs().compareTo(Duration.ofMillis(51)) < 0);
      return true;
    } catch (ConditionTimeoutException e) {
      return false;
    }
  }

  /** A guest that answers in time is not bothered: its answer is the proof. */
  @Test
  void anAnswerInTimeIsEnough() throws Exception {
    try (Workbench bench = Workbench.pausing(root).withBase()) {
      Sandbox sandbox = bench.sandbox();
      FakeGuest guest = bench.guest(sandbox);
      sandbox.enter().close();
      // On a host that stalls an answer may be late: not each of several.
      for (int i = 0; i < ROUNDS; i++) {
        await().atMost(PATIENCE).until(() -> sandbox.view(false).state().equals("idle"));
        try (Sandbox.Session session = sandbox.enter()) {
          session.agent().thaw(PATIENCE);
          Thread.sleep(GuestClock.ERROR_MAX.toMillis() * 2);
        }
      }
      assertThat(Collections.frequency(guest.asked(), "clock")).isLessThan(ROUNDS);
    }
  }

  /** A program that says nothing after a pause is asked for its time, which is not set again. */
  @Test
  void aRightClockIsNotSetBack() throws Exception {
    try (Workbench bench = Workbench.pausing(root).withBase()) {
      Sandbox sandbox = bench.sandbox();
      FakeGuest guest = bench.guest(sandbox);
      sandbox.enter().close();
      // On a host that stalls the clock may be wrong indeed: not each time.
      for (int i = 0; i < ROUNDS; i++) {
        await().atMost(PATIENCE).until(() -> sandbox.view(false).state().equals("idle"));
        int rounds = i + 1;
        try (Sandbox.Session _ = sandbox.enter()) {
          await()
              .atMost(PATIENCE)
              .until(() -> Collections.frequency(guest.asked(), "clock") >= rounds);
          Thread.sleep(GuestClock.ERROR_MAX);
        }
      }
      assertThat(guest.clockFrames()).isBetween(ROUNDS, 2 * ROUNDS - 1);
    }
  }

  /** A host that is too busy to know any clock says so once, not with every step. */
  @Test
  void oneWarningAtATime() throws Exception {
    Logger log = Logger.getLogger(GuestClock.class.getName());
    List<String> told = new CopyOnWriteArrayList<>();
    Handler ear =
        new Handler() {
          @Override
          public void publish(LogRecord entry) {
            if (entry.getLevel().equals(Level.WARNING)) {
              told.add(entry.getMessage());
            }
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        };
    log.addHandler(ear);
    try (Workbench bench = Workbench.pausing(root).withBase()) {
      Sandbox sandbox = bench.sandbox();
      FakeGuest guest = bench.guest(sandbox);
      sandbox.enter().close();
      guest.on(
          "clock", _ -> Optional.of(Map.of("clockNanos", Handshake.unixNanos() - 100 * MILLI)));
      for (int i = 1; i <= 2; i++) {
        await().atMost(PATIENCE).until(() -> sandbox.view(false).state().equals("idle"));
        int asked = 6 * i;
        try (Sandbox.Session _ = sandbox.enter()) {
          await()
              .atMost(PATIENCE)
              .until(() -> Collections.frequency(guest.asked(), "clock") >= asked);
          await().atMost(PATIENCE).until(() -> !told.isEmpty());
          // Longer than it takes from the last answer to the warning.
          Thread.sleep(LATE.multipliedBy(2));
        }
      }
    } finally {
      log.removeHandler(ear);
    }
    assertThat(told).hasSize(1);
  }
}
