package dev.forkd.workspace;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.WorkspaceName;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.WorkspaceSpec;
import dev.forkd.engine.WorkspaceView;
import dev.forkd.engine.WorkspaceView.Status;
import dev.forkd.fault.FaultPoint;
import dev.forkd.state.SqliteStateStore;
import dev.forkd.state.StateStore;
import dev.forkd.state.WorkspaceRow;
import dev.forkd.state.WorkspaceState;
import java.nio.file.Path;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Workspaces on a real store, over a host whose sandboxes are numbers that must not be lost. */
class WorkspaceKeeperTest {
  private static final Tag PYTHON = new Tag("python");
  private static final WorkspaceName NAME = new WorkspaceName("w");
  private static final InstantSource CLOCK = InstantSource.fixed(Instant.ofEpochSecond(1000));

  @TempDir Path dir;
  private StateStore store;
  private FakeHost host;
  private WorkspaceKeeper keeper;

  @BeforeEach
  void open() {
    store = SqliteStateStore.open(dir.resolve("state.db"));
    host = new FakeHost(store);
    keeper = new WorkspaceKeeper(store, host, CLOCK, _ -> {});
  }

  @AfterEach
  void close() {
    store.close();
  }

  private WorkspaceView create(WorkspaceName name) {
    return keeper.create(new WorkspaceSpec(name, PYTHON, OptionalLong.empty()));
  }

  private SandboxId live() {
    return keeper.get(NAME).liveSandbox().orElseThrow();
  }

  private void write(int content) {
    host.sandboxes.put(live(), content);
  }

  private int content() {
    return host.sandboxes.get(live());
  }

  private static void fails(ErrorCode code, String words, Runnable call) {
    assertThatThrownBy(call::run)
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).as(e.message()).isEqualTo(code);
              assertThat(e.message()).contains(words);
            });
  }

  /** What is saved is there again after each round, and only the newest state is kept. */
  @Test
  void roundAfterRound() {
    WorkspaceView created = keeper.create(new WorkspaceSpec(NAME, PYTHON, OptionalLong.of(256)));
    assertThat(created.status()).isEqualTo(Status.RUNNING);
    assertThat(created.id()).isEqualTo("ws-" + created.liveSandbox().orElseThrow());
    assertThat(created.state()).isEmpty();
    for (int round = 1; round <= 5; round++) {
      write(round);
      WorkspaceView suspended = keeper.suspend(NAME, round % 2 == 0);
      assertThat(suspended.status()).isEqualTo(Status.SUSPENDED);
      assertThat(suspended.liveSandbox()).isEmpty();
      assertThat(suspended.id()).isEqualTo(created.id());
      Tag state = new Tag(round == 1 ? "ws-w-state" : "ws-w-state-" + round);
      assertThat(suspended.state()).contains(state);
      assertThat(host.snapshots).isEqualTo(Map.of(PYTHON, 0, state, round));
      assertThat(host.sandboxes).isEmpty();
      assertThat(keeper.resume(NAME).status()).isEqualTo(Status.RUNNING);
      assertThat(content()).isEqualTo(round);
      assertThat(host.limits.get(live())).isEqualTo(OptionalLong.of(256));
    }
    keeper.delete(NAME);
    assertThat(host.snapshots).isEqualTo(Map.of(PYTHON, 0));
    assertThat(host.sandboxes).isEmpty();
    assertThat(store.listWorkspaces()).isEmpty();
  }

  @Test
  void whatCannotBeDoneIsRefusedAndChangesNothing() {
    fails(ErrorCode.NOT_FOUND, "'w'", () -> keeper.get(NAME));
    fails(ErrorCode.NOT_FOUND, "'w'", () -> keeper.suspend(NAME, true));
    fails(ErrorCode.NOT_FOUND, "'w'", () -> keeper.resume(NAME));
    fails(ErrorCode.NOT_FOUND, "'w'", () -> keeper.delete(NAME));
    fails(
        ErrorCode.NOT_FOUND,
        "nope",
        () -> keeper.create(new WorkspaceSpec(NAME, new Tag("nope"), OptionalLong.empty())));
    assertThat(store.listWorkspaces()).isEmpty();
    create(NAME);
    fails(ErrorCode.ALREADY_EXISTS, "'w'", () -> create(NAME));
    fails(ErrorCode.FAILED_PRECONDITION, "runs already", () -> keeper.resume(NAME));
    keeper.suspend(NAME, true);
    fails(ErrorCode.FAILED_PRECONDITION, "suspended already", () -> keeper.suspend(NAME, true));
    assertThat(keeper.list()).hasSize(1);
    assertThat(host.sandboxes).isEmpty();
  }

  /** A killed and a failed sandbox make it stale; it goes on from what was saved last. */
  @Test
  void staleAndResumedFromTheLastState() {
    create(NAME);
    write(1);
    keeper.suspend(NAME, true);
    keeper.resume(NAME);
    write(2);
    SandboxId killed = live();
    host.kill(killed);
    assertThat(keeper.get(NAME).status()).isEqualTo(Status.STALE);
    assertThat(keeper.get(NAME).liveSandbox()).isEmpty();
    fails(ErrorCode.NOT_FOUND, "last state 'ws-w-state'", () -> keeper.suspend(NAME, true));
    keeper.resume(NAME);
    assertThat(content()).isEqualTo(1);
    SandboxId broken = live();
    host.failed.add(broken);
    assertThat(keeper.get(NAME).status()).isEqualTo(Status.STALE);
    host.failFork = true;
    fails(ErrorCode.RESOURCE_EXHAUSTED, "no memory", () -> keeper.resume(NAME));
    assertThat(keeper.get(NAME).status()).isEqualTo(Status.STALE);
    assertThat(host.sandboxes).as("can still be looked at").containsKey(broken);
    host.failFork = false;
    keeper.resume(NAME);
    assertThat(content()).isEqualTo(1);
    assertThat(host.sandboxes).as("the failed one is gone").hasSize(1);
  }

  /** A suspension that fails leaves the sandbox, the row and the former state as they were. */
  @Test
  void aFailedSuspensionChangesNothing() {
    create(NAME);
    write(1);
    keeper.suspend(NAME, false);
    keeper.resume(NAME);
    write(2);
    WorkspaceView before = keeper.get(NAME);
    host.failSave = true;
    fails(ErrorCode.RESOURCE_EXHAUSTED, "disk full", () -> keeper.suspend(NAME, true));
    assertThat(keeper.get(NAME)).isEqualTo(before);
    assertThat(content()).isEqualTo(2);
    assertThat(host.snapshots).isEqualTo(Map.of(PYTHON, 0, new Tag("ws-w-state"), 1));
    host.failSave = false;
    keeper.suspend(NAME, true);
    assertThat(host.snapshots).containsValue(2).hasSize(2);
  }

  /**
   * A suspended workspace gets the state that comes of booting its disk, or keeps the one it has.
   */
  @Test
  void reboot() {
    saveOne();
    host.failSave = true;
    fails(ErrorCode.DEADLINE_EXCEEDED, "come up", () -> keeper.reboot(NAME));
    host.failSave = false;
    assertThat(keeper.get(NAME).status()).isEqualTo(Status.SUSPENDED);
    Tag before = keeper.get(NAME).state().orElseThrow();
    Tag after = keeper.reboot(NAME).state().orElseThrow();
    assertThat(host.rebooted).containsExactly(after);
    assertThat(host.snapshots).containsOnlyKeys(PYTHON, after).doesNotContainKey(before);
    keeper.resume(NAME);
    assertThat(content()).isEqualTo(1);
    fails(ErrorCode.FAILED_PRECONDITION, "not suspended", () -> keeper.reboot(NAME));
  }

  /** Somebody else's snapshot with a state's tag is neither used nor removed. */
  @Test
  void tagsOfOthersAreLeftAlone() {
    create(NAME);
    host.snapshots.put(new Tag("ws-w-state"), 42);
    assertThat(keeper.suspend(NAME, true).state()).contains(new Tag("ws-w-state-2"));
    keeper.resume(NAME);
    host.duringSave = () -> host.snapshots.putIfAbsent(new Tag("ws-w-state-3"), 43);
    fails(ErrorCode.ALREADY_EXISTS, "ws-w-state-3", () -> keeper.suspend(NAME, true));
    assertThat(keeper.get(NAME).status()).isEqualTo(Status.RUNNING);
    assertThat(keeper.suspend(NAME, true).state()).contains(new Tag("ws-w-state-4"));
    keeper.delete(NAME);
    assertThat(host.snapshots.values()).containsExactlyInAnyOrder(0, 42, 43);
  }

  /** A state that others were branched from stays, as a snapshot like any other. */
  @Test
  void aStateThatIsAParentStays() {
    create(NAME);
    write(1);
    keeper.suspend(NAME, true);
    Tag first = new Tag("ws-w-state");
    host.parents.add(first);
    keeper.resume(NAME);
    write(2);
    keeper.suspend(NAME, true);
    assertThat(host.snapshots).containsEntry(first, 1);
    keeper.deletingSnapshot(first, DeleteMode.REFUSE, () -> host.snapshots.remove(first));
    assertThat(host.snapshots).doesNotContainKey(first);
    host.parents.add(new Tag("ws-w-state-2"));
    keeper.delete(NAME);
    assertThat(keeper.list()).isEmpty();
    assertThat(host.snapshots).containsEntry(new Tag("ws-w-state-2"), 2);
  }

  /** Deleting a state by its tag is refused, and by force makes the workspace start over. */
  @Test
  void statesAreProtected() {
    create(NAME);
    write(1);
    keeper.suspend(NAME, true);
    Tag state = new Tag("ws-w-state");
    Runnable deletion = () -> host.snapshots.remove(state);
    for (DeleteMode mode : List.of(DeleteMode.REFUSE, DeleteMode.CASCADE)) {
      fails(
          ErrorCode.FAILED_PRECONDITION,
          "workspace 'w'",
          () -> keeper.deletingSnapshot(state, mode, deletion));
    }
    fails(ErrorCode.FAILED_PRECONDITION, "workspace 'w'", () -> keeper.requireNoState(state));
    assertThat(host.snapshots).containsKey(state);
    keeper.deletingSnapshot(state, DeleteMode.FORCE, deletion);
    assertThat(keeper.get(NAME).state()).isEmpty();
    assertThat(keeper.get(NAME).status()).isEqualTo(Status.SUSPENDED);
    keeper.resume(NAME);
    assertThat(content()).isZero();
    keeper.deletingSnapshot(PYTHON, DeleteMode.REFUSE, () -> host.snapshots.remove(PYTHON));
    host.kill(live());
    fails(ErrorCode.NOT_FOUND, "python", () -> keeper.resume(NAME));
    assertThat(keeper.get(NAME).status()).isEqualTo(Status.STALE);
  }

  /** What cannot be removed after a state is saved does not undo that, and is tried again. */
  @Test
  void leftoversAreTriedAgain() {
    create(NAME);
    write(1);
    keeper.suspend(NAME, true);
    keeper.resume(NAME);
    write(2);
    host.failKill = true;
    assertThat(keeper.suspend(NAME, true).status()).isEqualTo(Status.SUSPENDED);
    fails(ErrorCode.INTERNAL, "cgroup", () -> keeper.resume(NAME));
    fails(ErrorCode.INTERNAL, "cgroup", () -> keeper.delete(NAME));
    host.failKill = false;
    keeper.delete(NAME);
    assertThat(host.sandboxes).isEmpty();
    assertThat(host.snapshots).isEqualTo(Map.of(PYTHON, 0));
  }

  /** Of two changes at once one is made; the other is told to come again, and may. */
  @Test
  void oneAtATime() throws Exception {
    create(NAME);
    write(1);
    CountDownLatch saving = new CountDownLatch(1);
    CountDownLatch go = new CountDownLatch(1);
    host.duringSave =
        () -> {
          saving.countDown();
          try {
            assertThat(go.await(60, TimeUnit.SECONDS)).isTrue();
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
          }
        };
    CompletableFuture<WorkspaceView> first =
        CompletableFuture.supplyAsync(() -> keeper.suspend(NAME, true));
    assertThat(saving.await(60, TimeUnit.SECONDS)).isTrue();
    fails(ErrorCode.ABORTED, "being suspended", () -> keeper.suspend(NAME, true));
    fails(ErrorCode.ABORTED, "being suspended", () -> keeper.resume(NAME));
    fails(ErrorCode.ABORTED, "being suspended", () -> keeper.delete(NAME));
    fails(ErrorCode.ABORTED, "being suspended", () -> create(NAME));
    create(new WorkspaceName("other"));
    go.countDown();
    assertThat(first.get(60, TimeUnit.SECONDS).status()).isEqualTo(Status.SUSPENDED);
    keeper.resume(NAME);
    assertThat(content()).isEqualTo(1);
  }

  /** Every legal name has tags that are legal and its own. */
  @Test
  void namesOfAnyLength() {
    Set<Tag> tags = new HashSet<>();
    for (int length = 1; length <= 64; length++) {
      for (char last : new char[] {'a', 'b'}) {
        WorkspaceName name = new WorkspaceName("n".repeat(length - 1) + last);
        for (long generation : new long[] {1, 2, 999_999_999}) {
          assertThat(tags.add(StateTags.of(name, generation)))
              .as("%s %d", name, generation)
              .isTrue();
        }
      }
    }
    assertThat(StateTags.of(new WorkspaceName("n".repeat(55)), 1).value())
        .isEqualTo("ws-" + "n".repeat(55) + "-state");
    for (String illegal : List.of("", "a b", "ä", "a/b", "..", "n".repeat(65))) {
      fails(ErrorCode.INVALID_ARGUMENT, "1-64 chars", () -> new WorkspaceName(illegal));
    }
  }

  /** The end of a process, wherever the code happens to be: nothing of it is caught. */
  private static final class Crash extends Error {
    private static final long serialVersionUID = 1L;
  }

  /** One change, to a workspace that has been suspended once with 1 in it. */
  private enum Change {
    CREATE,
    RESUME,
    SUSPEND,
    REBOOT,
    DISCARD,
    DELETE
  }

  private void prepare(Change change) {
    if (change != Change.CREATE) {
      saveOne();
    }
    if (Set.of(Change.SUSPEND, Change.DISCARD, Change.DELETE).contains(change)) {
      keeper.resume(NAME);
    }
    if (change == Change.SUSPEND || change == Change.DISCARD) {
      write(2);
    }
  }

  private static void make(Change change, WorkspaceKeeper keeper) {
    switch (change) {
      case CREATE -> keeper.create(spec(NAME));
      case RESUME -> keeper.resume(NAME);
      case SUSPEND -> keeper.suspend(NAME, true);
      case REBOOT -> keeper.reboot(NAME);
      case DISCARD -> keeper.discard(NAME);
      case DELETE -> keeper.delete(NAME);
    }
  }

  private static WorkspaceSpec spec(WorkspaceName name) {
    return new WorkspaceSpec(name, PYTHON, OptionalLong.empty());
  }

  private void saveOne() {
    create(NAME);
    write(1);
    keeper.suspend(NAME, true);
  }

  /** What its sandbox did since it was saved is forgotten, also when it has died meanwhile. */
  @Test
  void discard() {
    saveOne();
    WorkspaceView saved = keeper.get(NAME);
    assertThat(keeper.discard(NAME)).as("it has no sandbox").isEqualTo(saved);
    for (boolean dies : new boolean[] {false, true}) {
      keeper.resume(NAME);
      write(2);
      if (dies) {
        host.kill(live());
      }
      assertThat(keeper.discard(NAME).status()).isEqualTo(Status.SUSPENDED);
      assertThat(host.sandboxes).isEmpty();
      assertThat(keeper.get(NAME).state()).isEqualTo(saved.state());
    }
    keeper.resume(NAME);
    assertThat(content()).isEqualTo(1);
    host.failKill = true;
    fails(ErrorCode.INTERNAL, "cgroup", () -> keeper.discard(NAME));
    host.failKill = false;
    keeper.resume(NAME);
    assertThat(host.sandboxes).as("what could not be ended is ended first").hasSize(1);
  }

  /** A crash at every step of every change, with sandboxes that survive it and that do not. */
  @Test
  void crashesAtEveryStep() {
    int crashes = 0;
    for (Change change : Change.values()) {
      for (boolean sandboxesSurvive : new boolean[] {true, false}) {
        for (int step = 0; crashAt(change, step, sandboxesSurvive); step++) {
          crashes++;
        }
      }
    }
    assertThat(crashes).as("steps there are").isGreaterThan(30);
  }

  /** Whether there was such a step. */
  private boolean crashAt(Change change, int step, boolean sandboxesSurvive) {
    close();
    try {
      java.nio.file.Files.delete(dir.resolve("state.db"));
    } catch (java.io.IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
    open();
    prepare(change);
    List<String> steps = new ArrayList<>();
    FaultPoint fault =
        name -> {
          steps.add(name);
          if (steps.size() > step) {
            throw new Crash();
          }
        };
    host.usedBy(store, fault);
    boolean crashed = false;
    try {
      make(change, new WorkspaceKeeper(store, host, CLOCK, fault));
    } catch (Crash e) {
      crashed = true;
    }
    if (!crashed) {
      return false;
    }
    if (!sandboxesSurvive) {
      host.loseSandboxes();
    }
    store.close();
    store = SqliteStateStore.open(dir.resolve("state.db"));
    host.usedBy(store, _ -> {});
    keeper = new WorkspaceKeeper(store, host, CLOCK, _ -> {});
    keeper.recover();
    assertThat(keeper.recover()).as("nothing is left to recover").isEmpty();
    check(change, steps.getLast(), sandboxesSurvive);
    return true;
  }

  private void check(Change change, String step, boolean sandboxesSurvive) {
    String when = change + " at " + step + (sandboxesSurvive ? "" : ", sandboxes lost");
    List<WorkspaceRow> rows = store.listWorkspaces();
    Set<Tag> owned = new HashSet<>(Set.of(PYTHON));
    Set<SandboxId> named = new HashSet<>();
    for (WorkspaceRow row : rows) {
      assertThat(row.state()).as(when).isIn(WorkspaceState.RUNNING, WorkspaceState.SUSPENDED);
      row.stateTag().map(Tag::new).ifPresent(owned::add);
      row.sandboxId().map(SandboxId::new).ifPresent(named::add);
      assertThat(row.stagedTag().or(row::retiredTag).or(row::nextSandboxId)).as(when).isEmpty();
    }
    assertThat(host.snapshots.keySet()).as(when).isEqualTo(owned);
    assertThat(named).as(when).containsAll(host.sandboxes.keySet());
    if (change == Change.DELETE && rows.isEmpty()) {
      return;
    }
    if (change == Change.CREATE && rows.isEmpty()) {
      create(NAME);
    }
    assertThat(keeper.list()).as(when).hasSize(1);
    if (keeper.get(NAME).status() != Status.RUNNING) {
      keeper.resume(NAME);
    }
    int expected =
        switch (change) {
          case CREATE -> 0;
          case RESUME, REBOOT, DISCARD, DELETE -> 1;
          case SUSPEND -> sandboxesSurvive || !step.matches(".*(begun|host.save)") ? 2 : 1;
        };
    assertThat(content()).as(when).isEqualTo(expected);
    keeper.suspend(NAME, true);
    keeper.delete(NAME);
    assertThat(host.snapshots).as(when).isEqualTo(Map.of(PYTHON, 0));
    assertThat(host.sandboxes).as(when).isEmpty();
  }

  /** A staged state that cannot be started is not put in place of a whole one. */
  @Test
  void anUnusableStagedStateIsDropped() {
    saveOne();
    keeper.resume(NAME);
    Tag staged = new Tag("ws-w-state-2");
    WorkspaceKeeper crashing =
        new WorkspaceKeeper(
            store,
            host,
            CLOCK,
            step -> {
              if (step.equals("workspace.suspend.saved")) {
                throw new Crash();
              }
            });
    assertThatThrownBy(() -> crashing.suspend(NAME, true)).isInstanceOf(Crash.class);
    host.unusable.add(staged);
    assertThat(keeper.recover()).containsExactly("undone: suspension of workspace w");
    assertThat(keeper.get(NAME).state()).contains(new Tag("ws-w-state"));
    assertThat(host.snapshots).doesNotContainKey(staged);
    assertThat(Optional.of(keeper.get(NAME).status())).contains(Status.RUNNING);
  }

  /** A process that ends lets go of sandboxes; none of them is replaced or ended for that. */
  @Test
  void closedWhileAResumptionBegins() {
    saveOne();
    keeper.resume(NAME);
    write(2);
    SandboxId running = live();
    host.whenAskedForLife =
        () -> {
          keeper.close();
          host.failed.add(running);
        };
    fails(ErrorCode.UNAVAILABLE, "daemon is stopping", () -> keeper.resume(NAME));
    fails(ErrorCode.UNAVAILABLE, "daemon is stopping", () -> keeper.delete(NAME));
    host.whenAskedForLife = () -> {};
    host.failed.clear();
    keeper = new WorkspaceKeeper(store, host, CLOCK, _ -> {});
    assertThat(keeper.recover()).isEmpty();
    assertThat(live()).isEqualTo(running);
    assertThat(content()).isEqualTo(2);
  }
}
