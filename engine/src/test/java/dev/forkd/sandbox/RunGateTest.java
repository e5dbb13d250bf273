package dev.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.GuestMemory;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import dev.forkd.vmm.VmExit;
import dev.forkd.vmm.VmProcess;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class RunGateTest {
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  private final ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor();
  private final List<VmCommand> commands = Collections.synchronizedList(new ArrayList<>());
  private final AtomicBoolean idle = new AtomicBoolean(true);
  private final AtomicInteger clockSteps = new AtomicInteger();

  @AfterEach
  void stop() {
    clock.shutdownNow();
  }

  private RunGate gate(boolean pausing, Optional<Admission> admission) {
    return new RunGate(
        new PausableVm(), false, pausing, admission, clock, idle::get, clockSteps::incrementAndGet);
  }

  private RunGate.Pass enter(RunGate gate) {
    return gate.enter(PATIENCE);
  }

  /** Work resumes the guest once, its clock is stepped, and the last one out pauses it. */
  @Test
  void runsWhileThereIsWork() {
    RunGate gate = gate(true, Optional.empty());
    RunGate.Pass first = enter(gate);
    RunGate.Pass second = enter(gate);
    assertThat(commands).containsExactly(new VmCommand.Resume());
    assertThat(clockSteps).hasValue(1);
    first.close();
    first.close();
    assertThat(gate.running()).isTrue();
    second.close();
    await().atMost(PATIENCE).until(() -> !gate.running());
    assertThat(commands).containsExactly(new VmCommand.Resume(), new VmCommand.Pause());
  }

  /** Something of the user's in the background keeps the guest running until it ends. */
  @Test
  void backgroundWorkKeepsItRunning() throws Exception {
    RunGate gate = gate(true, Optional.empty());
    idle.set(false);
    enter(gate).close();
    Thread.sleep(100);
    assertThat(gate.running()).isTrue();
    idle.set(true);
    gate.pauseSoon();
    await().atMost(PATIENCE).until(() -> !gate.running());
  }

  /** Where guests need no pausing, none is paused. */
  @Test
  void pausingCanBeOff() throws Exception {
    RunGate gate = gate(false, Optional.empty());
    enter(gate).close();
    Thread.sleep(100);
    assertThat(commands).containsExactly(new VmCommand.Resume());
  }

  /** While a branch holds the gate, nobody resumes the guest. */
  @Test
  void gripKeepsThingsAsTheyAre() throws Exception {
    RunGate gate = gate(true, Optional.empty());
    RunGate.Grip grip = gate.grip();
    assertThat(grip.wasRunning()).isFalse();
    Thread other = Thread.ofVirtual().start(() -> enter(gate).close());
    Thread.sleep(100);
    assertThat(commands).isEmpty();
    grip.close();
    other.join();
    assertThat(commands).first().isEqualTo(new VmCommand.Resume());
  }

  /**
   * One guest per turn; the next one waits, and is refused with a reason when it waits too long.
   */
  @Test
  void turnsAreTaken() {
    // A turn that does not end by itself meanwhile.
    Duration turn = Duration.ofHours(1);
    try (Admission admission = new Admission(new Admission.Rules(1, 10, 3, 16, turn, turn))) {
      RunGate busy = gate(true, Optional.of(admission));
      RunGate waiting = gate(true, Optional.of(admission));
      RunGate.Pass pass = enter(busy);
      assertThatThrownBy(() -> waiting.enter(Duration.ofMillis(50)))
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.DEADLINE_EXCEEDED));
      pass.close();
      enter(waiting).close();
    }
  }

  /** A long command does not keep the others out: its turn ends although it goes on. */
  @Test
  void turnsEnd() {
    try (Admission admission = new Admission(Admission.Rules.of(1, 10))) {
      RunGate busy = gate(true, Optional.of(admission));
      RunGate waiting = gate(true, Optional.of(admission));
      RunGate.Pass pass = enter(busy);
      long begin = System.nanoTime();
      enter(waiting).close();
      assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(Duration.ofSeconds(20));
      pass.close();
      // Both turns are back, each once.
      enter(busy).close();
      enter(waiting).close();
    }
  }

  /**
   * Guests beyond their turns are parked when they are too many: paused with work to do. A branch's
   * grip wakes such a guest, and its clock is stepped, since it has to be stopped from inside.
   */
  @Test
  void parkedGuestsArePausedAndGripped() {
    idle.set(false);
    Duration slice = Duration.ofHours(1);
    try (Admission admission =
        new Admission(new Admission.Rules(1, 10, 1, 1, Duration.ofMillis(50), slice))) {
      RunGate first = gate(true, Optional.of(admission));
      RunGate second = gate(true, Optional.of(admission));
      RunGate.Pass one = enter(first);
      RunGate.Pass two = enter(second);
      await().atMost(PATIENCE).until(() -> commands.contains(new VmCommand.Pause()));
      assertThat(admission.stats().parked()).isOne();
      assertThat(first.running() && second.running()).isTrue();
      commands.clear();
      clockSteps.set(0);
      // It does not show which one was parked: both are gripped, one is woken.
      first.grip().close();
      second.grip().close();
      assertThat(commands).contains(new VmCommand.Resume());
      assertThat(clockSteps).hasValue(1);
      await().atMost(PATIENCE).until(() -> commands.contains(new VmCommand.Pause()));
      one.close();
      two.close();
    }
  }

  /** The guest of a failed sandbox stands still, whatever runs in it. */
  @Test
  void failedGuestsStandStill() {
    idle.set(false);
    RunGate gate = gate(true, Optional.empty());
    enter(gate).close();
    gate.fail();
    await().atMost(PATIENCE).until(() -> commands.contains(new VmCommand.Pause()));
  }

  /** A VM of which only pausing matters. */
  private final class PausableVm implements RunningVm {
    @Override
    public void execute(List<VmCommand> sent) {
      commands.addAll(sent);
    }

    @Override
    public VmProcess process() {
      return new VmProcess(1, 1);
    }

    @Override
    public SocketChannel agent() {
      throw new UnsupportedOperationException();
    }

    @Override
    public boolean paused() {
      return false;
    }

    @Override
    public GuestMemory memory() {
      throw new UnsupportedOperationException();
    }

    @Override
    public DiskChain disk() {
      throw new UnsupportedOperationException();
    }

    @Override
    public void mergeDisk(DiskLayer keep, Duration timeout) {
      throw new UnsupportedOperationException();
    }

    @Override
    public dev.forkd.vmm.VmCopier copier(boolean owned) {
      throw new UnsupportedOperationException();
    }

    @Override
    public String console() {
      return "";
    }

    @Override
    public CompletableFuture<VmExit> exit() {
      return new CompletableFuture<>();
    }

    @Override
    public void kill() {}

    @Override
    public void close() {}
  }
}
