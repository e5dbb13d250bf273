package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.WorkspaceName;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSession;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.WorkspaceSpec;
import dev.forkd.engine.WorkspaceView;
import dev.forkd.engine.WorkspaceView.Status;
import dev.forkd.engine.Workspaces;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Named sandboxes that are put away and taken up again. */
class WorkspaceSystemTest {
  private static final WorkspaceName NAME = new WorkspaceName("desk");

  @AfterEach
  void clean() throws Exception {
    Lab.clean(Lab.engine());
    assertThat(Lab.vmms()).isEmpty();
    assertThat(Lab.unfinished()).isEmpty();
    assertThat(Lab.contents("run")).isEmpty();
    assertThat(Lab.contents("snapshots")).containsExactly("python");
    assertThat(Lab.contents("ram")).hasSize(1);
    assertThat(Lab.contents("images").stream().filter(name -> !name.startsWith("empty-")))
        .hasSize(2);
  }

  private static Workspaces workspaces() {
    return Lab.engine().workspaces();
  }

  private static SandboxId create() {
    return live(workspaces().create(new WorkspaceSpec(NAME, Lab.PYTHON, OptionalLong.empty())));
  }

  private static SandboxId live(WorkspaceView view) {
    return view.liveSandbox().orElseThrow();
  }

  private static void fails(
      ErrorCode code, org.assertj.core.api.ThrowableAssert.ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).as(e.message()).isEqualTo(code));
  }

  /**
   * Suspended and resumed five times, all of what it did before is there: memory, disk, and what
   * runs in the background. A diff stands on its predecessors, whose tags are gone.
   */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void roundAfterRound(boolean diff) {
    SandboxId sandbox = create();
    Lab.eval(sandbox, "kept = [i * i for i in range(100000)]; rounds = []; where = id(kept)");
    Lab.sh(sandbox, "mkdir /root/rounds");
    Lab.sh(sandbox, "(while :; do echo t >> /tmp/ticks; sleep 0.1; done) >/dev/null 2>&1 &");
    List<String> ids = new ArrayList<>();
    for (int round = 0; round < 5; round++) {
      Lab.eval(sandbox, "rounds.append(" + round + ")");
      // Not synced: what is only in the guest's page cache is saved as well.
      Lab.sh(sandbox, "echo " + round + " > /root/rounds/" + round);
      ids.add(sandbox.value());
      WorkspaceView suspended = workspaces().suspend(NAME, diff);
      assertThat(suspended.status()).isEqualTo(Status.SUSPENDED);
      assertThat(Lab.engine().sandboxes()).isEmpty();
      assertThat(Lab.vmms()).isEmpty();
      assertThat(Lab.engine().snapshots()).as("python, and one state").hasSize(2);
      sandbox = live(workspaces().resume(NAME));
      assertThat(Lab.eval(sandbox, "(rounds, len(kept), sum(kept[:1000]), id(kept) == where)"))
          .isEqualTo(
              "("
                  + java.util.stream.IntStream.rangeClosed(0, round).boxed().toList()
                  + ", 100000, 332833500, True)");
      StringBuilder written = new StringBuilder();
      for (int i = 0; i <= round; i++) {
        written.append(i).append('\n');
      }
      assertThat(Lab.sh(sandbox, "cat /root/rounds/*")).isEqualTo(written.toString());
    }
    assertThat(ids).doesNotHaveDuplicates();
    SandboxId last = sandbox;
    int before = ticks(last);
    await().atMost(Lab.PATIENCE).until(() -> ticks(last) > before);
  }

  private static int ticks(SandboxId id) {
    return Integer.parseInt(Lab.sh(id, "wc -l < /tmp/ticks").strip());
  }

  /** Chains do not grow with the rounds, however many there are. */
  @Test
  @EnabledIfEnvironmentVariable(named = "FORKD_TEST_ALL", matches = "1")
  void sixtyTimesSuspended() throws Exception {
    SandboxId sandbox = create();
    Lab.eval(sandbox, "n = 0");
    for (int round = 1; round <= 60; round++) {
      Lab.eval(sandbox, "n += 1");
      Lab.sh(sandbox, "echo " + round + " > /root/f" + round);
      workspaces().suspend(NAME, true);
      assertThat(Lab.contents("images")).as("round %d", round).hasSizeLessThan(40);
      assertThat(Lab.contents("ram")).as("round %d", round).hasSizeLessThan(12);
      sandbox = live(workspaces().resume(NAME));
    }
    assertThat(Lab.eval(sandbox, "n")).isEqualTo("60");
    assertThat(Lab.sh(sandbox, "cat /root/f1 /root/f30 /root/f60")).isEqualTo("1\n30\n60\n");
  }

  /** Another engine on the data directory finds it as it was left. */
  @Test
  void survivesItsEngine() {
    SandboxId sandbox = create();
    Lab.eval(sandbox, "n = 7");
    workspaces().suspend(NAME, true);
    WorkspaceView before = workspaces().get(NAME);
    Lab.release();
    assertThat(workspaces().get(NAME)).isEqualTo(before);
    sandbox = live(workspaces().resume(NAME));
    assertThat(Lab.eval(sandbox, "n")).isEqualTo("7");
    Lab.eval(sandbox, "n = 8");
    // This engine ends its sandboxes when it closes.
    Lab.release();
    assertThat(workspaces().get(NAME).status()).isEqualTo(Status.STALE);
    assertThat(Lab.eval(live(workspaces().resume(NAME)), "n")).isEqualTo("7");
  }

  /** Whatever ends its sandbox, it goes on from what was saved last. */
  @Test
  void staleByKillAndByDeath() throws Exception {
    SandboxId sandbox = create();
    Lab.eval(sandbox, "n = 1");
    Lab.engine().kill(sandbox);
    assertThat(workspaces().get(NAME).status()).isEqualTo(Status.STALE);
    fails(ErrorCode.NOT_FOUND, () -> workspaces().suspend(NAME, true));
    sandbox = live(workspaces().resume(NAME));
    assertThat(Lab.eval(sandbox, "'n' in globals()")).isEqualTo("False");
    Lab.eval(sandbox, "n = 2");
    workspaces().suspend(NAME, true);
    sandbox = live(workspaces().resume(NAME));
    int pid = Lab.engine().sandbox(sandbox).pid().orElseThrow();
    ProcessHandle vmm = ProcessHandle.of(pid).orElseThrow();
    vmm.destroyForcibly();
    await().atMost(Lab.PATIENCE).until(() -> workspaces().get(NAME).status() == Status.STALE);
    fails(ErrorCode.NOT_FOUND, () -> workspaces().suspend(NAME, true));
    assertThat(Lab.eval(live(workspaces().resume(NAME)), "n")).isEqualTo("2");
    assertThat(Lab.engine().sandboxes()).hasSize(1);
  }

  /** A command under way keeps it from being suspended; it is not cut, and nothing is changed. */
  @Test
  void requestsUnderWayAreNotCut() {
    SandboxId sandbox = create();
    Lab.eval(sandbox, "n = 1");
    ExecSpec sleep = ExecSpec.of(List.of("sleep", "60"), Lab.PATIENCE);
    ExecListener deaf =
        new ExecListener() {
          @Override
          public void stdout(byte[] chunk) {}

          @Override
          public void stderr(byte[] chunk) {}
        };
    try (ExecSession session = Lab.engine().startExec(sandbox, sleep, deaf)) {
      WorkspaceView before = workspaces().get(NAME);
      fails(ErrorCode.FAILED_PRECONDITION, () -> workspaces().suspend(NAME, true));
      assertThat(workspaces().get(NAME)).isEqualTo(before);
      session.signal(9);
      session.await();
    }
    assertThat(Lab.eval(sandbox, "n")).isEqualTo("1");
    workspaces().suspend(NAME, true);
  }

  /**
   * Under a steady stream of requests every change that was answered is there after the suspension,
   * and of several suspensions at once one is made.
   */
  @Test
  void nothingAnsweredIsLost() throws Exception {
    SandboxId sandbox = create();
    Lab.eval(sandbox, "done = []");
    List<Integer> answered = new CopyOnWriteArrayList<>();
    try (ExecutorService pool = Executors.newFixedThreadPool(4)) {
      Future<?> writer =
          pool.submit(() -> {
            try {
              for (int i = 0; ; i++) {
                Lab.eval(sandbox, "done.append(" + i + ")");
                answered.add(i);
              }
            } catch (ForkdException e) {
              return e.code();
            }
          });
      await().atMost(Lab.PATIENCE).until(() -> answered.size() > 3);
      List<Future<WorkspaceView>> changes = new ArrayList<>();
      for (int i = 0; i < 3; i++) {
        changes.add(pool.submit(() -> workspaces().suspend(NAME, true)));
      }
      int made = 0;
      for (Future<WorkspaceView> change : changes) {
        try {
          assertThat(change.get().status()).isEqualTo(Status.SUSPENDED);
          made++;
        } catch (ExecutionException e) {
          assertThat(((ForkdException) e.getCause()).code())
              .isIn(ErrorCode.ABORTED, ErrorCode.FAILED_PRECONDITION);
        }
      }
      assertThat(made).isEqualTo(1);
      assertThat(writer.get()).isIn(ErrorCode.ABORTED, ErrorCode.NOT_FOUND, ErrorCode.UNAVAILABLE);
    }
    assertThat(answered).isNotEmpty();
    SandboxId resumed = live(workspaces().resume(NAME));
    assertThat(Lab.eval(resumed, "done")).isEqualTo(answered.toString());
  }

  /** Its state can be forked and branched from by others, and then outlives the workspace. */
  @Test
  void othersMayUseItsState() {
    SandboxId sandbox = create();
    Lab.eval(sandbox, "n = 5");
    Tag state = workspaces().suspend(NAME, true).state().orElseThrow();
    SandboxId other = Lab.fork(state, 1).getFirst();
    assertThat(Lab.eval(other, "n")).isEqualTo("5");
    Lab.engine()
        .branch(
            other,
            new BranchSpec(
                Optional.of(new Tag("offspring")), BranchSpec.Mode.DIFF, Optional.of(state)));
    fails(
        ErrorCode.FAILED_PRECONDITION, () -> Lab.engine().deleteSnapshot(state, DeleteMode.REFUSE));
    workspaces().delete(NAME);
    assertThat(Lab.engine().snapshot(state).bootable()).as("it is a parent").isTrue();
    assertThat(Lab.eval(Lab.fork(new Tag("offspring"), 1).getFirst(), "n")).isEqualTo("5");
    assertThat(Lab.eval(other, "n")).isEqualTo("5");
  }

  /** A name of any length; and a sandbox that never ran is saved as well. */
  @Test
  void longNamesAndUntouchedSandboxes() {
    WorkspaceName name = new WorkspaceName("n".repeat(64));
    workspaces().create(new WorkspaceSpec(name, Lab.PYTHON, OptionalLong.empty()));
    for (int round = 0; round < 2; round++) {
      workspaces().suspend(name, true);
      workspaces().resume(name);
    }
    assertThat(Lab.eval(live(workspaces().get(name)), "1 + 1")).isEqualTo("2");
  }

  /** The memory limit goes with it; whoever passes it makes it stale. */
  @Test
  void theMemoryLimitStays() {
    workspaces().create(new WorkspaceSpec(NAME, Lab.PYTHON, OptionalLong.of(200)));
    workspaces().suspend(NAME, true);
    SandboxId sandbox = live(workspaces().resume(NAME));
    assertThat(Lab.engine().sandbox(sandbox).memoryLimitMib()).isEqualTo(OptionalLong.of(200));
    assertThatThrownBy(() -> Lab.eval(sandbox, "len(bytearray(os.urandom(1 << 20)) * 300)"))
        .isInstanceOf(ForkdException.class);
    await().atMost(Lab.PATIENCE).until(() -> workspaces().get(NAME).status() == Status.STALE);
    assertThat(Lab.eval(live(workspaces().resume(NAME)), "1 + 1")).isEqualTo("2");
  }
}
