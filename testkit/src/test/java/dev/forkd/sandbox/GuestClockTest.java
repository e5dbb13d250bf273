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
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** How well a guest's clock is known, and what is done when that is not well enough. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class GuestClockTest {
  private static final long MILLI = 1_000_000;
  private static final int ROUNDS = 5;
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

  /** A host that stalls in the handshake costs the child another try, not its life. */
  @Test
  void aStalledHandshakeIsRepeated() throws IOException {
    try (Workbench bench = new Workbench(root).withBase()) {
      Sandbox sandbox = bench.sandbox();
      FakeGuest guest = bench.guest(sandbox).stalled(LATE, 3);
      sandbox.enter().close();
      Certificate certificate = sandbox.record().certificate();
      assertThat(Collections.frequency(guest.asked(), "epoch")).isGreaterThanOrEqualTo(3);
      assertThat(guest.clockOffset().abs()).isLessThan(Duration.ofMillis(51));
      assertThat(certificate.clockErrorMaxMillis().orElseThrow())
          .isBetween(guest.clockOffset().abs().toMillis(), 50L);
      assertThat(certificate.clockOffsetMillis().orElseThrow()).isBetween(-50L, 0L);
    }
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
      assertThatThrownBy(sandbox::enter)
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.ABORTED);
                assertThat(e.message()).contains("its clock may be off by 2", "10 times");
              });
      assertThat(sandbox.view(false).state()).isEqualTo("failed");
      assertThat(sandbox.vm().exit()).succeedsWithin(Duration.ofSeconds(10));
    }
  }

  /** A step that is late after a pause is noticed, though nobody asks the guest anything. */
  @Test
  void aLateStepIsRepeated() throws IOException {
    try (Workbench bench = Workbench.pausing(root).withBase()) {
      Sandbox sandbox = bench.sandbox();
      FakeGuest guest = bench.guest(sandbox);
      sandbox.enter().close();
      await().until(() -> sandbox.view(false).state().equals("idle"));
      guest.stalled(LATE, 1);
      try (Sandbox.Session _ = sandbox.enter()) {
        await().until(() -> guest.asked().contains("status"));
        await()
            .untilAsserted(
                () -> assertThat(guest.clockOffset().abs()).isLessThan(Duration.ofMillis(51)));
      }
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
        await().until(() -> sandbox.view(false).state().equals("idle"));
        try (Sandbox.Session session = sandbox.enter()) {
          session.agent().thaw(Duration.ofSeconds(5));
          Thread.sleep(GuestClock.ERROR_MAX.toMillis() * 2);
        }
      }
      assertThat(Collections.frequency(guest.asked(), "status")).isLessThan(ROUNDS);
    }
  }
}
