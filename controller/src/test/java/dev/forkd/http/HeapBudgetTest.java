package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Threads;
import dev.forkd.engine.ExecResult;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ForkSpec;
import dev.forkd.testkit.FakeEngine;
import java.io.ByteArrayInputStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** What all results, or all bodies, together may take of the heap. */
class HeapBudgetTest {
  private static final long MAX = 1 << 20;

  /** Shares take what there is and not more, and a small result is had even then. */
  @Test
  void aFullHouseStillTakesSmallResults() {
    HeapBudget budget = new HeapBudget(MAX, MAX);
    HeapBudget.Share large = budget.share();
    assertThat(large.mayHold(MAX + HeapBudget.FREE_BYTES)).isTrue();
    assertThat(large.mayHold(1)).isFalse();
    try (HeapBudget.Share small = budget.share()) {
      assertThat(small.mayHold(HeapBudget.FREE_BYTES)).isTrue();
      assertThat(small.mayHold(1)).isFalse();
    }
    large.close();
    large.close();
    assertThat(budget.heldBytes()).isZero();
    try (HeapBudget.Share next = budget.share()) {
      assertThat(next.mayHold(MAX)).isTrue();
    }
  }

  /**
   * One owner is kept to its part, and leaves the rest to others; what it gives back it has again.
   */
  @Test
  void oneOwnerDoesNotTakeAll() {
    HeapBudget budget = new HeapBudget(MAX, MAX / 4);
    List<HeapBudget.Share> shares = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      HeapBudget.Share share = budget.share("greedy");
      shares.add(share);
      assertThat(share.mayHold(MAX / 8 + HeapBudget.FREE_BYTES)).as("share %d", i).isEqualTo(i < 2);
    }
    assertThat(budget.heldBytes("greedy")).isEqualTo(MAX / 4);
    try (HeapBudget.Share other = budget.share("other")) {
      assertThat(other.mayHold(MAX / 4)).isTrue();
    }
    shares.forEach(HeapBudget.Share::close);
    assertThat(budget.heldBytes("greedy")).isZero();
    try (HeapBudget.Share again = budget.share("greedy")) {
      assertThat(again.mayHold(MAX / 4)).isTrue();
    }
  }

  /** What is read counts as it comes, and is refused where the room ends, not at its end. */
  @Test
  void whatIsReadCounts() {
    HeapBudget budget = new HeapBudget(MAX, MAX);
    try (HeapBudget.Share share = budget.share()) {
      ByteArrayInputStream sent = new ByteArrayInputStream(new byte[2 * (int) MAX]);
      assertThatThrownBy(() -> share.counted(sent).readAllBytes())
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.RESOURCE_EXHAUSTED));
      assertThat(sent.available()).isGreaterThan((int) MAX / 2);
      assertThat(budget.heldBytes()).isGreaterThan(MAX / 2).isLessThanOrEqualTo(MAX);
    }
    assertThat(budget.heldBytes()).isZero();
  }

  /** Whatever is claimed side by side, the sum stays within the budget and all comes back. */
  @Test
  void sharesSideBySideNeverExceedIt() {
    long seed = System.nanoTime();
    HeapBudget budget = new HeapBudget(MAX, MAX);
    AtomicLong most = new AtomicLong();
    List<CompletableFuture<Void>> all = new ArrayList<>();
    for (int i = 0; i < 32; i++) {
      Random random = new Random(seed + i);
      CompletableFuture<Void> done = new CompletableFuture<>();
      all.add(done);
      Threads.virtual(
          "share-" + i,
          () -> {
            for (int round = 0; round < 200; round++) {
              try (HeapBudget.Share share = budget.share()) {
                for (int piece = 0; piece < 8; piece++) {
                  boolean _ = share.mayHold(random.nextInt(200_000));
                  most.accumulateAndGet(budget.heldBytes(), Math::max);
                }
              }
            }
            done.complete(null);
          });
    }
    CompletableFuture.allOf(all.toArray(CompletableFuture[]::new)).join();
    assertThat(most.get()).as("seed %d", seed).isPositive().isLessThanOrEqualTo(MAX);
    assertThat(budget.heldBytes()).as("seed %d", seed).isZero();
  }

  /** A command that writes without end is kept to what its client may hold, and says so. */
  @Test
  void outputBeyondTheBudgetIsDropped() {
    FakeEngine engine = new FakeEngine().withTemplate("python");
    SandboxId id =
        ((dev.forkd.engine.ChildOutcome.Started)
                engine
                    .fork(
                        new ForkSpec(
                            new dev.forkd.api.Tag("python"),
                            1,
                            OptionalLong.empty(),
                            false,
                            false,
                            false,
                            "emulation"))
                    .getFirst())
            .sandbox()
            .id();
    HeapBudget budget = new HeapBudget(MAX, MAX);
    boolean truncated = false;
    // A machine that stalls may need longer to write so much.
    for (int millis = 300; !truncated && millis <= 30_000; millis *= 10) {
      try (HeapBudget.Share client = budget.share()) {
        ExecResult result =
            engine.exec(id, ExecSpec.of(List.of("yes"), Duration.ofMillis(millis)), client);
        truncated = result.truncated();
        assertThat((long) result.stdout().length)
            .isLessThanOrEqualTo(MAX + HeapBudget.FREE_BYTES)
            .isGreaterThanOrEqualTo(truncated ? MAX / 2 : 0);
      }
    }
    assertThat(truncated).isTrue();
    assertThat(budget.heldBytes()).isZero();
  }
}
