package dev.forkd.hosted;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.forkd.api.Tag;
import dev.forkd.engine.HostedSandboxes.HostedOutcome;
import dev.forkd.engine.HostedSandboxes.PauseMode;
import dev.forkd.engine.HostedView;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;

/** What is made of hosted sandboxes, and that nothing else stays of that. */
class HostedOffspringTest extends HostedFixture {
  private static final Tag SAVED = new Tag("saved");

  private HostedView made() {
    HostedView made = keeper.create(plain());
    sandboxes.sandboxes.put(made.sandbox().orElseThrow(), 42);
    return made;
  }

  private List<HostedOutcome> fork(HostedView source) {
    return keeper.fork(source.id(), 1, LONG, UnaryOperator.identity());
  }

  /** Forks have what their source had; what they were made of is gone. */
  @Test
  void forks() {
    HostedView source = made();
    afterBranch = Optional.of(() -> {});
    assertThat(fork(source)).hasSize(1).hasOnlyElementsOfType(HostedOutcome.Made.class);
    assertThat(sandboxes.sandboxes.values()).containsExactly(42, 42);
    assertThat(sandboxes.snapshots).containsOnlyKeys(new Tag("python"));
    assertThat(store.listHosted()).hasSize(2);
  }

  /** A snapshot that shall have the disk only stands alone. */
  @Test
  void snapshotOfTheDisk() {
    HostedView source = made();
    afterBranch = Optional.of(() -> {});
    keeper.snapshot(source.id(), Optional.of(SAVED), PauseMode.DISK);
    assertThat(sandboxes.snapshots).containsOnlyKeys(new Tag("python"), SAVED);
    assertThat(store.listHosted()).hasSize(1);
  }

  /** A process that is killed in the middle leaves a snapshot, which the next one removes. */
  @Test
  void killedInTheMiddle() {
    HostedView source = made();
    for (Runnable making :
        List.<Runnable>of(
            () -> fork(source),
            () -> keeper.snapshot(source.id(), Optional.of(SAVED), PauseMode.DISK))) {
      afterBranch = Optional.of(() -> fail(0, Integer.MAX_VALUE));
      // Nobody hears what it answers.
      var _ = catchThrowable(making::run);
      fail(Integer.MAX_VALUE, 0);
      assertThat(sandboxes.snapshots).as("otherwise this shows nothing").hasSize(2);
      restart();
      assertThat(sandboxes.snapshots).containsOnlyKeys(new Tag("python"));
      assertThat(keeper.list()).extracting(HostedView::id).containsExactly(source.id());
      assertThat(store.listHosted()).hasSize(1);
    }
  }

  /** A snapshot whose name only looks like one of those is nobody's but its owner's. */
  @Test
  void snapshotsOfOthersStay() {
    HostedView source = made();
    Tag own = HostedNames.tag("fork");
    afterBranch = Optional.of(() -> {});
    keeper.snapshot(source.id(), Optional.of(own), PauseMode.MEMORY);
    restart();
    assertThat(sandboxes.snapshots).containsKey(own);
  }
}
