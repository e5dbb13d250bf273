package dev.forkd.http.e2b;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import java.time.Duration;
import java.time.InstantSource;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Whoever repeats a request is answered, whatever became of the first. */
@Timeout(30)
class RepeatsTest {
  private static final Optional<String> KEY = Optional.of("key");

  private final Repeats repeats = new Repeats(InstantSource.system(), Duration.ofMillis(100));

  /** What failed is forgotten, also when it was no failure that anybody foresaw. */
  @Test
  void anErrorLeavesNothing() {
    assertThatThrownBy(() ->
            repeats.once(
                KEY,
                "wish",
                () -> {
                  throw new NoClassDefFoundError("gone");
                }))
        .isInstanceOf(NoClassDefFoundError.class);
    assertThat(repeats.once(KEY, "wish", () -> "made")).isEqualTo("made");
    assertThat(repeats.once(KEY, "wish", () -> "again")).isEqualTo("made");
  }

  /** A first request that takes long does not keep those that repeat it for as long. */
  @Test
  void patienceEnds() throws InterruptedException {
    CountDownLatch begun = new CountDownLatch(1);
    CountDownLatch release = new CountDownLatch(1);
    Thread first =
        Threads.platform(
            "first",
            () -> {
              var _ =
                  repeats.once(
                      KEY,
                      "wish",
                      () -> {
                        begun.countDown();
                        waitFor(release);
                        return "made";
                      });
            });
    begun.await();
    assertThatThrownBy(() -> repeats.once(KEY, "wish", () -> "again"))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.UNAVAILABLE));
    release.countDown();
    first.join();
    assertThat(repeats.once(KEY, "wish", () -> "again")).isEqualTo("made");
  }

  private static void waitFor(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
