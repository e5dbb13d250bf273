package dev.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.testkit.FakeGuest;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A sandbox that has failed says why, and nothing of it runs on, whatever else fails. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class FailureTest {
  private static final String SAVE = "store.untilHostStops";

  @TempDir Path root;

  private Workbench bench;

  @BeforeEach
  void open() throws IOException {
    bench = Workbench.pausing(root).withBase();
  }

  @AfterEach
  void close() {
    bench.close();
  }

  /** A refused handshake that cannot be written down ends the VM, and is what the caller hears. */
  @Test
  void aRefusalThatCannotBeWritten() throws IOException {
    Sandbox sandbox = bench.sandbox();
    FakeGuest guest = bench.guest(sandbox);
    guest.on(
        "epoch",
        request -> {
          Map<String, Object> proof = new HashMap<>(guest.proof(request));
          proof.put("epoch", 7);
          return Optional.of(proof);
        });
    bench.faults.fail(SAVE, 1);
    assertThatThrownBy(sandbox::enter)
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.ABORTED);
              assertThat(e.message()).contains("its epoch is '7'");
            });
    assertThat(bench.faults.struck()).containsExactly(SAVE);
    assertThat(sandbox.vm().exit()).succeedsWithin(Duration.ofSeconds(10));
    assertThat(sandbox.view(false).failure().orElseThrow()).contains("its epoch is '7'");
  }

  /** A guest whose agent is lost is stopped, also where that cannot be written down. */
  @Test
  void aLostAgentThatCannotBeWritten() throws IOException {
    Sandbox sandbox = bench.sandbox();
    try (Sandbox.Session _ = sandbox.enter()) {
      assertThat(sandbox.vm().paused()).isFalse();
      // Its certificate is written meanwhile: the fault is not for that.
      await()
          .until(() ->
              bench.store.findSandbox(sandbox.id().value()).stream()
                  .anyMatch(row -> row.detailJson().contains("VERIFIED")));
      bench.faults.fail(SAVE, 1);
      bench.guest(sandbox).hangUp();
      await().until(() -> sandbox.view(false).state().equals("failed"));
      await().until(() -> sandbox.vm().paused());
      assertThat(bench.faults.struck()).containsExactly(SAVE);
    }
  }

  /**
   * One that is let go lives on, though nobody may enter it any more: whoever looks after hosted
   * sandboxes and workspaces must not take it for ended. One that is killed, or has failed, is.
   */
  @Test
  void whatLivesOn() throws IOException {
    Sandbox killed = bench.sandbox();
    bench.sandboxes.kill(killed.id());
    assertThat(killed.alive()).isFalse();
    Sandbox failed = bench.sandbox();
    failed.enter().close();
    bench.guest(failed).hangUp();
    await().until(() -> !failed.alive());
    failed.release();
    assertThat(failed.alive()).isFalse();
    Sandbox released = bench.sandbox();
    released.enter().close();
    released.release();
    assertThat(released.alive()).isTrue();
    assertThat(released.vm().exit()).isNotDone();
    assertThatThrownBy(released::enter).isInstanceOf(ForkdException.class);
  }

  /** What a healthy guest says is the reason: nothing else is waited for. */
  @Test
  void aHealthyGuestHasToldTheReason() throws IOException {
    Sandbox sandbox = bench.sandbox();
    bench.guest(sandbox).on("sync", FakeGuest.failing("unavailable", "the interpreter has ended"));
    try (Sandbox.Session session = sandbox.enter()) {
      ForkdException told =
          catchThrowableOfType(
              ForkdException.class, () -> session.agent().syncDisks(Duration.ofSeconds(5)));
      long begin = System.nanoTime();
      assertThat(sandbox.reason(told)).isSameAs(told);
      assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(Duration.ofSeconds(1));
    }
  }

  /** A channel that ends before the process does: the end of that is the reason, a moment later. */
  @Test
  void theEndBehindALostChannel() throws IOException {
    Sandbox sandbox = bench.sandbox();
    try (Sandbox.Session session = sandbox.enter()) {
      bench.guest(sandbox).hangUp();
      ForkdException told =
          catchThrowableOfType(
              ForkdException.class, () -> session.agent().syncDisks(Duration.ofSeconds(5)));
      ProcessHandle process = ProcessHandle.of(sandbox.vm().process().pid()).orElseThrow();
      CompletableFuture<?> end =
          CompletableFuture.runAsync(
              process::destroyForcibly,
              CompletableFuture.delayedExecutor(200, TimeUnit.MILLISECONDS));
      assertThat(sandbox.reason(told).message()).contains("its VMM ended");
      assertThat(end).isDone();
    }
  }

  /** Whoever is told to stop does not wait for that, however it turns out. */
  @Test
  void anInterruptedThreadDoesNotWait() throws IOException {
    Sandbox sandbox = bench.sandbox();
    try (Sandbox.Session session = sandbox.enter()) {
      bench.guest(sandbox).hangUp();
      ForkdException told =
          catchThrowableOfType(
              ForkdException.class, () -> session.agent().syncDisks(Duration.ofSeconds(5)));
      long begin = System.nanoTime();
      Thread.currentThread().interrupt();
      assertThat(sandbox.reason(told)).isSameAs(told);
      assertThat(Thread.interrupted()).isTrue();
      assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(Duration.ofSeconds(1));
    }
  }
}
