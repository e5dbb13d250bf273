package dev.forkd.hosted;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.WorkspaceName;
import dev.forkd.engine.HostedSandboxes.PauseMode;
import dev.forkd.engine.HostedSpec;
import dev.forkd.engine.HostedView;
import dev.forkd.engine.LogEntry;
import dev.forkd.workspace.WorkspaceKeeper;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** What hosted sandboxes live through. */
class HostedKeeperTest extends HostedFixture {
  /**
   * Its workspace has a name, and whoever suspends that one pauses the sandbox and loses nothing.
   */
  @Test
  void workspaceMayBeSuspendedAndResumedByItsName() {
    String id = keeper.create(plain()).id();
    WorkspaceName name = workspaces.list().getFirst().name();
    workspaces.suspend(name, true);
    assertThat(keeper.get(id).paused()).isTrue();
    assertThat(keeper.list()).extracting(HostedView::id).containsExactly(id);
    assertThat(keeper.resume(id, LONG, false)).isTrue();
    assertThat(keeper.get(id).paused()).isFalse();
    keeper.pause(id, PauseMode.MEMORY);
    SandboxId other = workspaces.resume(name).liveSandbox().orElseThrow();
    assertThat(keeper.resume(id, LONG, false)).isTrue();
    assertThat(sandboxes.living(other)).isPresent();
    workspaces.suspend(name, true);
    workspaces.resume(name);
    assertThat(keeper.get(id).paused()).isFalse();
    keeper.kill(id);
    assertThat(workspaces.list()).isEmpty();
  }

  /** It keeps its id, token and words through a pause, and what was in it. */
  @Test
  void pauseAndResume() {
    HostedView made = keeper.create(plain());
    sandboxes.sandboxes.put(made.sandbox().orElseThrow(), 42);
    AtomicInteger stops = new AtomicInteger();
    keeper.onStop(made.id(), made.sandbox().orElseThrow(), stops::incrementAndGet);
    keeper.pause(made.id(), PauseMode.MEMORY);
    assertThat(stops).as("whoever listens hears of it").hasValue(1);
    assertThat(keeper.get(made.id()).paused()).isTrue();
    assertThat(sandboxes.sandboxes).isEmpty();
    fails(ErrorCode.ALREADY_EXISTS, () -> keeper.pause(made.id(), PauseMode.MEMORY));
    fails(ErrorCode.NOT_FOUND, () -> keeper.awake(made.id(), LONG));
    assertThat(keeper.resume(made.id(), LONG, false)).isTrue();
    assertThat(keeper.resume(made.id(), LONG, false)).isFalse();
    HostedView again = keeper.get(made.id());
    assertThat(again.accessToken()).isEqualTo(made.accessToken()).isPresent();
    assertThat(again.spec().metadata()).containsEntry("k", "v");
    assertThat(sandboxes.sandboxes.get(again.sandbox().orElseThrow())).isEqualTo(42);
    assertThat(keeper.awake(made.id(), LONG)).isEqualTo(again.sandbox().orElseThrow());
  }

  /** Killed, it is gone in every respect, and those who listen hear of it at once. */
  @Test
  void kill() {
    HostedView made = keeper.create(plain());
    AtomicInteger stops = new AtomicInteger();
    keeper.onStop(made.id(), made.sandbox().orElseThrow(), stops::incrementAndGet);
    keeper.kill(made.id());
    assertThat(stops).hasValue(1);
    fails(ErrorCode.NOT_FOUND, () -> keeper.get(made.id()));
    fails(ErrorCode.NOT_FOUND, () -> keeper.kill(made.id()));
    assertThat(keeper.list()).isEmpty();
    assertThat(sandboxes.sandboxes).isEmpty();
    assertThat(store.listHosted()).isEmpty();
    keeper.onStop(made.id(), made.sandbox().orElseThrow(), stops::incrementAndGet);
    assertThat(stops).as("one who comes late hears it too").hasValue(2);
  }

  /** Its end comes at its time, also when that was moved, and is what was wished. */
  @Test
  void ends() {
    HostedView dies = keeper.create(plain());
    keeper.setTimeout(dies.id(), Duration.ofMillis(200));
    HostedView sleeps = keeper.create(spec(Duration.ofMillis(200), HostedSpec.AtEnd.PAUSE, true));
    HostedView forgets =
        keeper.create(spec(Duration.ofMillis(200), HostedSpec.AtEnd.PAUSE_DISK, false));
    HostedView lives = extended(Duration.ofMillis(200));
    await()
        .atMost(PATIENCE)
        .untilAsserted(() -> fails(ErrorCode.NOT_FOUND, () -> keeper.get(dies.id())));
    await().atMost(PATIENCE).until(() -> keeper.get(sleeps.id()).paused());
    await().atMost(PATIENCE).until(() -> keeper.get(forgets.id()).pausedDisk());
    await().atMost(PATIENCE).until(() -> wall.instant().isAfter(lives.end().plusMillis(100)));
    assertThat(reset).as("its processes were ended first").hasValue(1);
    assertThat(keeper.awake(sleeps.id(), LONG)).isNotNull();
    fails(ErrorCode.NOT_FOUND, () -> keeper.awake(forgets.id(), LONG));
    assertThat(keeper.get(lives.id()).paused()).isFalse();
    assertThat(sandboxes.rebooted).isEmpty();
    assertThat(keeper.resume(forgets.id(), LONG, false)).isTrue();
    assertThat(sandboxes.rebooted).as("it is booted from its disk").hasSize(1);
  }

  /** One whose end was moved in time, which a machine that stalls may miss; as it was before. */
  private HostedView extended(Duration timeout) {
    HostedView lives = keeper.create(spec(timeout, HostedSpec.AtEnd.KILL, false));
    try {
      keeper.extend(lives.id(), LONG);
      return lives;
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.NOT_FOUND || timeout.compareTo(PATIENCE) > 0) {
        throw e;
      }
      return extended(timeout.multipliedBy(5));
    }
  }

  /** One that was paused with its memory can be booted all the same, from a disk that is whole. */
  @Test
  void reboot() {
    HostedView made = keeper.create(plain());
    keeper.pause(made.id(), PauseMode.MEMORY);
    assertThat(reset).hasValue(0);
    assertThat(keeper.resume(made.id(), LONG, true)).isTrue();
    assertThat(reset).as("what its memory held for its disk was written").hasValue(1);
    assertThat(sandboxes.rebooted).hasSize(1);
    assertThat(keeper.get(made.id()).paused()).isFalse();
    keeper.pause(made.id(), PauseMode.DISK);
    sandboxes.failSave = true;
    fails(ErrorCode.DEADLINE_EXCEEDED, () -> keeper.resume(made.id(), LONG, false));
    sandboxes.failSave = false;
    assertThat(keeper.get(made.id()).pausedDisk()).as("a boot that failed is no loss").isTrue();
    assertThat(keeper.resume(made.id(), LONG, false)).isTrue();
  }

  /**
   * A resumption that fails, wherever that is and however much else fails then, leaves it paused
   * and nothing running; the next one finds all that was saved.
   */
  @Test
  void resumptionFailsAtAnyStep() {
    for (boolean fresh : List.of(false, true)) {
      for (int failures : List.of(1, 2, Integer.MAX_VALUE)) {
        int step = 0;
        while (failedResumption(step, failures, fresh)) {
          step++;
        }
        assertThat(step).as("steps that can fail").isGreaterThan(fresh ? 8 : 3);
      }
    }
  }

  /** Whether that step was reached. */
  private boolean failedResumption(int step, int failures, boolean fresh) {
    String what = "step " + step + ", " + failures + " failures, fresh " + fresh;
    HostedView made = keeper.create(plain());
    sandboxes.sandboxes.put(made.sandbox().orElseThrow(), 42);
    keeper.pause(made.id(), PauseMode.MEMORY);
    HostedView paused = keeper.get(made.id());
    boolean reached = false;
    fail(step, failures);
    try {
      assertThat(keeper.resume(made.id(), LONG, fresh)).isTrue();
    } catch (ForkdException e) {
      reached = true;
    } finally {
      reached |= bad.get() < failures;
      fail(Integer.MAX_VALUE, 0);
    }
    HostedView after = keeper.get(made.id());
    if (after.paused()) {
      assertThat(after.end()).as(what).isEqualTo(paused.end());
      assertThat(after.started()).as(what).isEqualTo(paused.started());
      if (failures == 1) {
        assertThat(sandboxes.sandboxes).as(what).isEmpty();
      }
      assertThat(keeper.resume(made.id(), LONG, false)).as(what).isTrue();
    }
    SandboxId now = keeper.get(made.id()).sandbox().orElseThrow();
    assertThat(sandboxes.sandboxes).as(what).hasSize(1).containsEntry(now, 42);
    keeper.setTimeout(made.id(), Duration.ZERO);
    await().atMost(PATIENCE).until(() -> sandboxes.sandboxes.isEmpty());
    await().atMost(PATIENCE).until(() -> store.listHosted().isEmpty());
    return reached;
  }

  /** What could not be ended when a resumption failed is ended without anybody asking. */
  @Test
  void leftoversGoByThemselves() {
    HostedView made = keeper.create(plain());
    keeper.pause(made.id(), PauseMode.MEMORY);
    // The row, the claim and the fork go well, then nothing does.
    fail(4, Integer.MAX_VALUE);
    fails(ErrorCode.INTERNAL, () -> keeper.resume(made.id(), LONG, true));
    assertThat(sandboxes.sandboxes).as("otherwise this shows nothing").isNotEmpty();
    fail(Integer.MAX_VALUE, 0);
    await().atMost(PATIENCE).until(() -> sandboxes.sandboxes.isEmpty());
    assertThat(keeper.get(made.id()).paused()).isTrue();
    restart();
    assertThat(keeper.resume(made.id(), LONG, true)).isTrue();
  }

  /** A clock that is set back defers an end, and does not prevent it. */
  @Test
  void clockIsSetBack() {
    HostedView dies = keeper.create(spec(Duration.ofMillis(300), HostedSpec.AtEnd.KILL, false));
    HostedView sleeps = keeper.create(spec(Duration.ofMillis(300), HostedSpec.AtEnd.PAUSE, false));
    wallOffset = Duration.ofSeconds(-1);
    await()
        .atMost(PATIENCE)
        .untilAsserted(() -> fails(ErrorCode.NOT_FOUND, () -> keeper.get(dies.id())));
    await().atMost(PATIENCE).until(() -> keeper.get(sleeps.id()).paused());
  }

  /** Whoever was answered that the end was moved can count on it. */
  @Test
  void endIsMovedInTheLastMoment() throws Exception {
    Duration timeout = Duration.ofMillis(500);
    // On a machine that stalls its end may come before all are where they have to be.
    while (!endIsMoved(timeout)) {
      timeout = timeout.multipliedBy(5);
      assertThat(timeout).isLessThan(PATIENCE);
    }
  }

  /** False if it was too late for it. */
  private boolean endIsMoved(Duration timeout) throws Exception {
    HostedView made = keeper.create(spec(timeout, HostedSpec.AtEnd.KILL, false));
    CountDownLatch branching = new CountDownLatch(1);
    CountDownLatch goOn = new CountDownLatch(1);
    duringBranch =
        () -> {
          branching.countDown();
          assertThat(waited(goOn)).isTrue();
        };
    Thread holder =
        Thread.ofVirtual()
            .start(() ->
                fails(
                    ErrorCode.UNIMPLEMENTED,
                    () -> keeper.snapshot(made.id(), Optional.empty(), PauseMode.MEMORY)));
    await().atMost(PATIENCE).until(() -> branching.getCount() == 0 || !holder.isAlive());
    if (branching.getCount() > 0) {
      return false;
    }
    AtomicBoolean moved = new AtomicBoolean();
    Thread mover =
        Thread.ofVirtual()
            .start(() -> {
              keeper.setTimeout(made.id(), LONG);
              moved.set(true);
            });
    await()
        .atMost(PATIENCE)
        .until(() -> mover.getState() == Thread.State.TIMED_WAITING || !mover.isAlive());
    boolean late = !mover.isAlive() || !wall.instant().isBefore(made.end());
    await().atMost(PATIENCE).until(() -> wall.instant().isAfter(made.end().plusMillis(300)));
    goOn.countDown();
    assertThat(holder.join(PATIENCE) && mover.join(PATIENCE)).isTrue();
    if (late) {
      return false;
    }
    assertThat(moved).isTrue();
    // Long enough for an end that waits for its turn.
    assertThat(keeper.usage(made.id())).isNotEmpty();
    await()
        .atMost(PATIENCE)
        .during(Duration.ofMillis(300))
        .until(() -> !keeper.get(made.id()).paused());
    return true;
  }

  /** Its log tells of its life, and what others note; it is there for a while after its end. */
  @Test
  void log() {
    HostedView made = keeper.create(plain());
    keeper.note(made.id(), LogEntry.Level.WARN, "process", "x".repeat(1000), Map.of("pid", "12"));
    keeper.pause(made.id(), PauseMode.MEMORY);
    keeper.resume(made.id(), LONG, false);
    keeper.kill(made.id());
    List<LogEntry> log = keeper.log(made.id());
    assertThat(log)
        .extracting(entry -> entry.message().substring(0, 5))
        .containsExactly("creat", "xxxxx", "pause", "resum", "ended");
    assertThat(log.get(1).message()).hasSizeLessThan(600);
    assertThat(log.get(1).fields()).containsEntry("pid", "12");
    keeper.note(made.id(), LogEntry.Level.INFO, "process", "late", Map.of());
    keeper.note("unknown", LogEntry.Level.INFO, "process", "of nobody", Map.of());
    fails(ErrorCode.NOT_FOUND, () -> keeper.log("unknown"));
  }

  /** A log and a history are bounded, and so is the number of those that have ended. */
  @Test
  void logsAreBounded() {
    Chronicle chronicle = new Chronicle(new Host(), InstantSource.system());
    chronicle.begin("lives");
    for (int i = 0; i < 2000; i++) {
      chronicle.note("lives", LogEntry.Level.INFO, "x", "" + i, Map.of());
      chronicle.begin("ended" + i);
      chronicle.end("ended" + i);
    }
    List<LogEntry> log = chronicle.entries("lives").orElseThrow();
    assertThat(log).hasSize(500);
    assertThat(log.getLast().message()).isEqualTo("1999");
    assertThat(chronicle.entries("ended1799")).isEmpty();
    assertThat(chronicle.entries("ended1800")).isPresent();
  }

  /** What it uses is told as of now while it runs, and what it used before that. */
  @Test
  void usage() {
    wallStopped = Optional.of(Instant.now());
    HostedView made = keeper.create(plain());
    assertThat(keeper.usage(made.id())).hasSize(1);
    assertThat(keeper.usage(made.id())).as("asked again at once").hasSize(1);
    keeper.pause(made.id(), PauseMode.MEMORY);
    assertThat(keeper.usage(made.id()).getFirst().usage().cpuPercent()).isEqualTo(50);
  }

  /** A pause that fails leaves it as it was. */
  @Test
  void failedPause() {
    HostedView made = keeper.create(plain());
    sandboxes.failSave = true;
    fails(ErrorCode.RESOURCE_EXHAUSTED, () -> keeper.pause(made.id(), PauseMode.MEMORY));
    assertThat(keeper.awake(made.id(), LONG)).isEqualTo(made.sandbox().orElseThrow());
  }

  /** A kill that fails is made up for; until then it is found by nobody. */
  @Test
  void failedKill() {
    HostedView made = keeper.create(plain());
    sandboxes.failKill = true;
    fails(ErrorCode.INTERNAL, () -> keeper.kill(made.id()));
    fails(ErrorCode.NOT_FOUND, () -> keeper.get(made.id()));
    sandboxes.failKill = false;
    // What the workspace wrote down before it failed is enough for the next process to finish.
    new WorkspaceKeeper(store, sandboxes, InstantSource.system(), _ -> {}).recover();
    restart();
    assertThat(sandboxes.sandboxes).isEmpty();
    assertThat(store.listHosted()).isEmpty();
  }

  /** A paused one whose workspace somebody has deleted is over. */
  @Test
  void workspaceIsDeleted() {
    HostedView made = keeper.create(plain());
    keeper.pause(made.id(), PauseMode.MEMORY);
    new WorkspaceKeeper(store, sandboxes, InstantSource.system(), _ -> {})
        .delete(new dev.forkd.api.WorkspaceName(made.id()));
    fails(ErrorCode.NOT_FOUND, () -> keeper.resume(made.id(), LONG, false));
    assertThat(keeper.list()).isEmpty();
    assertThat(store.listHosted()).isEmpty();
  }

  /** A time that is longer than any can be kept is as long as can be. */
  @Test
  void endlessTimes() {
    for (Duration endless :
        List.of(
            Duration.ofSeconds(Long.MAX_VALUE), Duration.ofSeconds(Long.MAX_VALUE / 1000 + 1))) {
      HostedView made = keeper.create(spec(endless, HostedSpec.AtEnd.PAUSE, true));
      assertThat(made.end()).isAfter(wall.instant().plus(Duration.ofDays(364)));
      keeper.setTimeout(made.id(), endless);
      keeper.pause(made.id(), PauseMode.MEMORY);
      assertThat(keeper.awake(made.id(), endless)).isNotNull();
    }
  }

  /** One that cannot be made leaves nothing. */
  @Test
  void failedCreation() {
    sandboxes.failFork = true;
    fails(ErrorCode.RESOURCE_EXHAUSTED, () -> keeper.create(plain()));
    assertThat(store.listHosted()).isEmpty();
    assertThat(keeper.list()).isEmpty();
  }

  /** The next process finds them running or paused, and makes up for an end that it missed. */
  @Test
  void anotherProcessTakesOver() {
    HostedView runs = keeper.create(plain());
    HostedView paused = keeper.create(plain());
    keeper.pause(paused.id(), PauseMode.MEMORY);
    HostedView late = keeper.create(spec(Duration.ofMillis(100), HostedSpec.AtEnd.KILL, false));
    restart();
    assertThat(keeper.get(runs.id()).sandbox()).isEqualTo(runs.sandbox());
    assertThat(keeper.get(runs.id()).accessToken()).isEqualTo(runs.accessToken());
    assertThat(keeper.get(paused.id()).paused()).isTrue();
    assertThat(keeper.resume(paused.id(), LONG, false)).isTrue();
    await()
        .atMost(PATIENCE)
        .untilAsserted(() -> fails(ErrorCode.NOT_FOUND, () -> keeper.get(late.id())));
  }

  /** The host was switched off: what ran is gone, what was paused is there. */
  @Test
  void hostWasSwitchedOff() {
    HostedView runs = keeper.create(plain());
    HostedView paused = keeper.create(plain());
    keeper.pause(paused.id(), PauseMode.MEMORY);
    sandboxes.loseSandboxes();
    restart();
    fails(ErrorCode.NOT_FOUND, () -> keeper.get(runs.id()));
    assertThat(keeper.list()).extracting(HostedView::id).containsExactly(paused.id());
    assertThat(store.listHosted()).hasSize(1);
  }
}
