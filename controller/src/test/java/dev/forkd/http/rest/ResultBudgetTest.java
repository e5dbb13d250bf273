package dev.forkd.http.rest;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Threads;
import dev.forkd.engine.ExecResult;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ForkSpec;
import dev.forkd.testkit.FakeEngine;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** What all results together may take of the heap. */
class ResultBudgetTest {
  private static final long MAX = 1 << 20;

  /** Shares take what there is and not more, and a small result is had even then. */
  @Test
  void aFullHouseStillTakesSmallResults() {
    ResultBudget budget = new ResultBudget(MAX);
    ResultBudget.Share large = budget.share();
    assertThat(large.mayHold(MAX + ResultBudget.FREE_BYTES)).isTrue();
    assertThat(large.mayHold(1)).isFalse();
    try (ResultBudget.Share small = budget.share()) {
      assertThat(small.mayHold(ResultBudget.FREE_BYTES)).isTrue();
      assertThat(small.mayHold(1)).isFalse();
    }
    large.close();
    large.close();
    assertThat(budget.heldBytes()).isZero();
    try (ResultBudget.Share next = budget.share()) {
      assertThat(next.mayHold(MAX)).isTrue();
    }
  }

  /** Whatever is claimed side by side, the sum stays within the budget and all comes back. */
  @Test
  void sharesSideBySideNeverExceedIt() {
    long seed = System.nanoTime();
    ResultBudget budget = new ResultBudget(MAX);
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
              try (ResultBudget.Share share = budget.share()) {
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
    ResultBudget budget = new ResultBudget(MAX);
    try (ResultBudget.Share client = budget.share()) {
      ExecResult result =
          engine.exec(id, ExecSpec.of(List.of("yes"), Duration.ofMillis(300)), client);
      assertThat(result.truncated()).isTrue();
      assertThat((long) result.stdout().length)
          .isPositive()
          .isLessThanOrEqualTo(MAX + ResultBudget.FREE_BYTES)
          .isGreaterThanOrEqualTo(MAX / 2);
    }
    assertThat(budget.heldBytes()).isZero();
  }
}
