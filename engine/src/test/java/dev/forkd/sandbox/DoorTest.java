package dev.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;

class DoorTest {
  private static final SandboxId ID = new SandboxId("sb1");
  private static final Duration LONG = Duration.ofSeconds(60);

  private final Door door = new Door();

  private static void fails(ErrorCode code, String words, ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(code);
              assertThat(e.message()).contains(words);
            });
  }

  /** While it is shut nobody gets in; afterwards everybody does. */
  @Test
  void shutAndOpened() {
    door.enter(ID);
    door.leave();
    try (Door.Shut _ = door.shut(ID, LONG)) {
      fails(ErrorCode.ABORTED, "being suspended", () -> door.enter(ID));
      fails(ErrorCode.ABORTED, "being suspended", () -> door.shut(ID, LONG));
    }
    door.enter(ID);
    door.leave();
  }

  /** It waits for those inside, and no one gets in meanwhile. */
  @Test
  void waitsForThoseInside() throws Exception {
    door.enter(ID);
    door.enter(ID);
    CompletableFuture<Door.Shut> shutting =
        CompletableFuture.supplyAsync(() -> door.shut(ID, LONG));
    await().atMost(LONG).until(this::isShut);
    assertThatThrownBy(() -> shutting.get(50, TimeUnit.MILLISECONDS))
        .isInstanceOf(java.util.concurrent.TimeoutException.class);
    fails(ErrorCode.ABORTED, "being suspended", () -> door.enter(ID));
    door.leave();
    assertThat(shutting).isNotDone();
    door.leave();
    shutting.get(60, TimeUnit.SECONDS).close();
    door.enter(ID);
  }

  private boolean isShut() {
    try {
      door.enter(ID);
    } catch (ForkdException e) {
      return e.code() == ErrorCode.ABORTED;
    }
    door.leave();
    return false;
  }

  /** When they do not leave it gives up, says how many there are, and is open again. */
  @Test
  void givesUp() {
    door.enter(ID);
    fails(
        ErrorCode.FAILED_PRECONDITION,
        "1 request is still under way",
        () -> door.shut(ID, Duration.ofMillis(20)));
    door.enter(ID);
    fails(
        ErrorCode.FAILED_PRECONDITION,
        "2 requests are still under way",
        () -> door.shut(ID, Duration.ZERO));
    door.leave();
    door.leave();
    door.shut(ID, Duration.ZERO).close();
  }

  /** An interrupt ends the wait, and the door is open again. */
  @Test
  void interrupted() {
    door.enter(ID);
    Thread.currentThread().interrupt();
    fails(ErrorCode.CANCELLED, "interrupted", () -> door.shut(ID, LONG));
    assertThat(Thread.interrupted()).isTrue();
    door.enter(ID);
  }
}
