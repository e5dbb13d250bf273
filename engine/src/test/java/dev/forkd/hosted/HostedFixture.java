package dev.forkd.hosted;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.GuestUsage;
import dev.forkd.engine.HostedSpec;
import dev.forkd.engine.Snapshot;
import dev.forkd.state.SqliteStateStore;
import dev.forkd.state.StateStore;
import dev.forkd.workspace.FakeHost;
import dev.forkd.workspace.WorkspaceKeeper;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;

/** Hosted sandboxes on a real store and real workspaces, over sandboxes that are numbers. */
abstract class HostedFixture {
  static final Duration LONG = Duration.ofMinutes(10);
  static final Duration PATIENCE = Duration.ofSeconds(40);

  @TempDir Path dir;
  StateStore store;
  FakeHost sandboxes;
  HostedKeeper keeper;
  final AtomicInteger reset = new AtomicInteger();

  /** What a clock on the wall shows besides the time that has gone by. */
  volatile Duration wallOffset = Duration.ZERO;

  /** Where it stands still. */
  volatile Optional<Instant> wallStopped = Optional.empty();

  /** Happens once, as soon as anybody asks for the time, which also each entry of a log does. */
  final AtomicReference<Runnable> whenAsked = new AtomicReference<>(() -> {});

  final InstantSource wall =
      () -> {
        whenAsked.getAndSet(() -> {}).run();
        return wallStopped.orElseGet(InstantSource.system()::instant).plus(wallOffset);
      };

  /** How many steps still go well, and how many fail then. */
  final AtomicInteger good = new AtomicInteger(Integer.MAX_VALUE);

  final AtomicInteger bad = new AtomicInteger();

  /** A step of the host that, once reached, waits until it may go on. */
  volatile String slow = "";

  final CountDownLatch reached = new CountDownLatch(1);
  final CountDownLatch goOn = new CountDownLatch(1);

  WorkspaceKeeper workspaces;
  volatile Runnable duringBranch = () -> {};

  /** Comes after a branch that is made; without it none can be. */
  volatile Optional<Runnable> afterBranch = Optional.empty();

  @BeforeEach
  void open() {
    store = failing(SqliteStateStore.open(dir.resolve("state.db")));
    sandboxes = new FakeHost(store);
    sandboxes.usedBy(
        store,
        step -> {
          if (step.equals(slow)) {
            reached.countDown();
            assertThat(waited(goOn)).isTrue();
          }
          // What comes after it is done cannot fail any more.
          if (!step.equals("host.rebooted")) {
            step(step);
          }
        });
    keeper = keeper();
  }

  /** Something that may fail, as when a disk is full. */
  void step(String what) {
    if (good.getAndUpdate(HostedFixture::less) == 0 && bad.getAndUpdate(HostedFixture::less) > 0) {
      throw new ForkdException(ErrorCode.INTERNAL, what + " has failed");
    }
  }

  static int less(int count) {
    return Math.max(0, count - 1);
  }

  void fail(int afterGood, int thenBad) {
    good.set(afterGood);
    bad.set(thenBad);
  }

  /** Whatever is written may fail. */
  StateStore failing(StateStore real) {
    return (StateStore)
        Proxy.newProxyInstance(
            getClass().getClassLoader(),
            new Class<?>[] {StateStore.class},
            (_, method, arguments) -> {
              String name = method.getName();
              if (!name.startsWith("find") && !name.startsWith("list") && !name.equals("close")) {
                step(name);
              }
              try {
                return method.invoke(real, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
            });
  }

  @AfterEach
  void close() {
    keeper.close();
    store.close();
  }

  HostedKeeper keeper() {
    workspaces = new WorkspaceKeeper(store, sandboxes, InstantSource.system(), _ -> {});
    return new HostedKeeper(store, workspaces, new Host(), wall);
  }

  /** Another process takes over. */
  void restart() {
    keeper.close();
    keeper = keeper();
    assertThat(keeper.recover()).doesNotContain("not yet");
  }

  final class Host implements HostedHost {
    @Override
    public Size size(Tag snapshot) {
      if (!sandboxes.snapshots.containsKey(snapshot)) {
        throw new ForkdException(ErrorCode.NOT_FOUND, "no snapshot " + snapshot);
      }
      return new Size(512, 2048);
    }

    @Override
    public boolean living(SandboxId sandbox) {
      return sandboxes.living(sandbox).isPresent();
    }

    @Override
    public boolean working(SandboxId sandbox) {
      return living(sandbox);
    }

    @Override
    public GuestUsage usage(SandboxId sandbox) {
      return new GuestUsage(1, 50, 4, 3, 2, 8, 7);
    }

    @Override
    public Snapshot branch(SandboxId sandbox, Tag tag) {
      duringBranch.run();
      Runnable after =
          afterBranch.orElseThrow(
              () -> new ForkdException(ErrorCode.UNIMPLEMENTED, "no branches here"));
      sandboxes.snapshots.put(tag, sandboxes.sandboxes.get(sandbox));
      after.run();
      return snapshot(tag);
    }

    @Override
    public void writeDisk(SandboxId sandbox) {}

    @Override
    public Snapshot reboot(Tag from, Tag to) {
      sandboxes.reboot(from, to);
      return snapshot(to);
    }

    @Override
    public void endProcesses(SandboxId sandbox) {
      step("endProcesses");
      reset.incrementAndGet();
    }

    @Override
    public void remove(Tag tag) {
      step("remove");
      assertThat(sandboxes.remove(tag)).isTrue();
    }
  }

  private static Snapshot snapshot(Tag tag) {
    return new Snapshot(
        tag,
        Path.of("/snapshots", tag.value()),
        0,
        Snapshot.Status.READY,
        false,
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        512,
        2048,
        0,
        0,
        Optional.empty());
  }

  static HostedSpec spec(Duration timeout, HostedSpec.AtEnd atEnd, boolean resumes) {
    return new HostedSpec(
        new Tag("python"), timeout, Map.of("k", "v"), Map.of(), Map.of(), atEnd, resumes, true);
  }

  static HostedSpec plain() {
    return spec(LONG, HostedSpec.AtEnd.KILL, false);
  }

  static void fails(ErrorCode code, ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(ForkdException.class, e -> assertThat(e.code()).isEqualTo(code));
  }

  static boolean waited(CountDownLatch latch) {
    try {
      return latch.await(PATIENCE.toMillis(), TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }
}
