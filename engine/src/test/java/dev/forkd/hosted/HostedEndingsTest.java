package dev.forkd.hosted;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.SandboxId;
import dev.forkd.api.WorkspaceName;
import dev.forkd.engine.HostedSandboxes.PauseMode;
import dev.forkd.engine.HostedSpec;
import dev.forkd.engine.HostedView;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** What ends by itself, and what only looks as if it had, and must not be lost. */
class HostedEndingsTest extends HostedFixture {
  /** Long enough for an end that nobody waits for. */
  private static final Duration MOMENT = Duration.ofMillis(300);

  private HostedView made() {
    HostedView made = keeper.create(plain());
    sandboxes.sandboxes.put(made.sandbox().orElseThrow(), 42);
    return made;
  }

  private int contentOf(String id) {
    return sandboxes.sandboxes.get(keeper.get(id).sandbox().orElseThrow());
  }

  /** One whose workspace was suspended is paused, even if that cannot be written down. */
  @Test
  void suspendedWhileTheStoreFails() {
    HostedView made = made();
    workspaces.suspend(new WorkspaceName(made.id()), true);
    fail(0, 1);
    assertThat(keeper.list()).extracting(HostedView::id).containsExactly(made.id());
    assertThat(bad).as("otherwise this shows nothing").hasValue(0);
    await().during(MOMENT).until(() -> keeper.get(made.id()).paused());
    restart();
    assertThat(keeper.resume(made.id(), LONG, false)).isTrue();
    assertThat(contentOf(made.id())).isEqualTo(42);
  }

  /** It has no end then, also when nobody has looked at it since and the store fails at first. */
  @Test
  void suspendedBeforeItsEnd() {
    Duration soon = Duration.ofSeconds(2);
    HostedView made = keeper.create(spec(soon, HostedSpec.AtEnd.KILL, false));
    workspaces.suspend(new WorkspaceName(made.id()), true);
    fail(0, 1);
    await().atMost(PATIENCE).until(() -> bad.get() == 0);
    await().during(MOMENT).until(() -> workspaces.list().size() == 1);
    assertThat(keeper.get(made.id()).paused()).isTrue();
  }

  /** What looked as if it had ended is asked again before it is removed. */
  @Test
  void resumedWhileItIsFoundToHaveEnded() {
    HostedView made = made();
    WorkspaceName name = new WorkspaceName(made.id());
    workspaces.suspend(name, true);
    SandboxId fails = workspaces.resume(name).liveSandbox().orElseThrow();
    assertThat(keeper.get(made.id()).sandbox()).contains(fails);
    sandboxes.sandboxes.remove(fails);
    whenAsked.set(() -> workspaces.resume(name));
    assertThat(keeper.list()).isEmpty();
    await()
        .atMost(PATIENCE)
        .during(MOMENT)
        .ignoreExceptions()
        .until(() -> contentOf(made.id()) == 42);
  }

  /** A process that ends lets go of its sandboxes, and the next one finds them as they were. */
  @Test
  void letGoOfAtTheEnd() {
    HostedView made = made();
    keeper.close();
    sandboxes.failed.add(made.sandbox().orElseThrow());
    assertThat(keeper.list()).extracting(HostedView::id).containsExactly(made.id());
    await().during(MOMENT).until(() -> sandboxes.sandboxes.containsValue(42));
    sandboxes.failed.clear();
    restart();
    assertThat(contentOf(made.id())).isEqualTo(42);
  }

  /** One whose sandbox is gone, and that was never saved, is over. */
  @Test
  void lost() {
    HostedView made = made();
    sandboxes.loseSandboxes();
    assertThat(keeper.list()).isEmpty();
    await().atMost(PATIENCE).until(() -> store.listHosted().isEmpty());
    assertThat(workspaces.list()).isEmpty();
    assertThat(keeper.log(made.id())).extracting(entry -> entry.message()).contains("ended");
  }

  /** A kill that a slow resumption keeps waiting for too long is made up for. */
  @Test
  void killedDuringASlowResumption() throws Exception {
    HostedView made = made();
    keeper.pause(made.id(), PauseMode.MEMORY);
    killedDuring("host.fork", made, () -> keeper.resume(made.id(), LONG, false));
  }

  /** As is one that a slow pause keeps waiting. */
  @Test
  void killedDuringASlowPause() throws Exception {
    HostedView made = made();
    killedDuring("host.save", made, () -> keeper.pause(made.id(), PauseMode.MEMORY));
  }

  private void killedDuring(String step, HostedView made, Runnable change) throws Exception {
    slow = step;
    Thread changer = Thread.ofVirtual().start(change);
    assertThat(waited(reached)).isTrue();
    // As it is refused when its turn does not come, and sooner.
    Thread killer =
        Thread.ofVirtual().start(() -> fails(ErrorCode.CANCELLED, () -> keeper.kill(made.id())));
    await().until(() -> killer.getState() == Thread.State.TIMED_WAITING);
    killer.interrupt();
    assertThat(killer.join(PATIENCE)).isTrue();
    goOn.countDown();
    assertThat(changer.join(PATIENCE)).isTrue();
    assertThat(store.listHosted()).as("otherwise this shows nothing").hasSize(1);
    fails(ErrorCode.NOT_FOUND, () -> keeper.get(made.id()));
    fails(ErrorCode.NOT_FOUND, () -> keeper.awake(made.id(), LONG));
    await().atMost(PATIENCE.multipliedBy(2)).until(() -> store.listHosted().isEmpty());
    assertThat(workspaces.list()).isEmpty();
    assertThat(sandboxes.sandboxes).isEmpty();
  }

  /** One that is lost while it is changed keeps nobody waiting who looks at all of them. */
  @Test
  void lostWhileItIsChanged() throws Exception {
    HostedView made = made();
    HostedView other = made();
    duringBranch =
        () -> {
          reached.countDown();
          assertThat(waited(goOn)).isTrue();
        };
    Thread branching =
        Thread.ofVirtual()
            .start(() ->
                fails(
                    ErrorCode.UNIMPLEMENTED,
                    () -> keeper.snapshot(made.id(), Optional.empty(), PauseMode.MEMORY)));
    assertThat(waited(reached)).isTrue();
    sandboxes.failed.add(made.sandbox().orElseThrow());
    assertTimeoutPreemptively(
        PATIENCE.dividedBy(2),
        () ->
            assertThat(keeper.list())
                .extracting(HostedView::id)
                .containsExactlyInAnyOrder(made.id(), other.id()));
    goOn.countDown();
    assertThat(branching.join(PATIENCE)).isTrue();
    await()
        .atMost(PATIENCE)
        .until(
            () -> keeper.list().stream().map(HostedView::id).toList().equals(List.of(other.id())));
  }
}
