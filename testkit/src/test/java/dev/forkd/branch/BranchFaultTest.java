package dev.forkd.branch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.BranchSpec.Mode;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.snapshot.Layers;
import dev.forkd.testkit.FakeGuest;
import dev.forkd.testkit.Workbench;
import dev.forkd.vmm.DiskLayer;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Whatever fails in a branch: its source goes on as it was, the error is told, nothing half-made
 * stays, and the same branch can be taken afterwards.
 */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class BranchFaultTest {
  private static final Tag TAG = new Tag("b");

  /** More often than anybody tries again. */
  private static final int ALWAYS = 1000;

  /** For what must happen, however busy the machine is. */
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  @TempDir Path root;

  private Workbench bench;
  private Set<String> before = Set.of();
  private Sandbox source;
  private FakeGuest guest;

  @BeforeEach
  void open() throws IOException {
    bench = new Workbench(root).withBase();
    before = bench.files();
    source = bench.sandbox();
    guest = bench.guest(source);
    source.enter().close();
  }

  /**
   * Whatever happened, a kill frees all of it: nobody holds on to what a failed branch has left.
   */
  @AfterEach
  void nothingIsLeft() throws IOException {
    bench.faults.clear();
    bench.sandboxes.kill(source.id());
    if (bench.snapshots.contains(TAG)) {
      bench.snapshots.delete(TAG, DeleteMode.REFUSE);
    }
    bench.zygotes.prune();
    assertThat(bench.files()).isEqualTo(before);
    bench.close();
  }

  private Snapshot branch(Mode mode) {
    return bench.brancher.branch(source, new BranchSpec(Optional.of(TAG), mode, Optional.empty()));
  }

  private void assertGoesOn() {
    assertThat(source.vm().paused()).as("paused").isFalse();
    await().atMost(PATIENCE).untilAsserted(() -> assertThat(guest.frozen()).as("frozen").isFalse());
    assertThat(source.view(false).state()).isEqualTo("running");
    // What is written down is what the VM has: the next daemon goes by it.
    assertThat(source.record().activeLayer()).isEqualTo(source.vm().disk().active().id());
    assertThat(source.record().disk())
        .isEqualTo(source.vm().disk().base().stream().map(Layers::ref).toList());
    assertThat(source.vm().disk().base()).allSatisfy(layer -> assertThat(layer.path()).exists());
    assertThat(source.vm().disk().active().path()).exists();
    source.enter().close();
  }

  /** Of the branch: the layer that the source writes to by now may be a new one, all else not. */
  private void assertNothingOfIt(Set<String> with) throws IOException {
    assertThat(bench.snapshots.contains(TAG)).isFalse();
    assertThat(bench.store.findSnapshot(TAG.value())).isEmpty();
    assertThat(bench.brancher.inFlight()).isZero();
    Set<String> expected = new TreeSet<>(with);
    for (DiskLayer layer : source.vm().disk().base()) {
      expected.add("images/" + layer.path().getFileName());
    }
    expected.add("images/" + source.vm().disk().active().path().getFileName());
    assertThat(bench.files()).isEqualTo(expected);
  }

  static Stream<Arguments> faults() {
    Stream<String> always =
        Stream.of(
            "vmm.add-overlay",
            "vmm.pause",
            "vmm.save",
            "vmm.switch-overlay",
            "vmm.read",
            "store.untilHostStops",
            "store.updateSnapshot");
    return always.flatMap(step ->
        Stream.of(Mode.FULL, Mode.DIFF, Mode.LIVE, Mode.MEASURE_DIFF)
            .map(mode -> Arguments.of(mode, step)));
  }

  /** A step that fails however often it is tried fails the branch, and only that. */
  @ParameterizedTest
  @MethodSource("faults")
  void aStepFails(Mode mode, String step) throws IOException {
    Set<String> with = bench.files();
    // Twice: what the first leaves must not become the second's undoing.
    for (int i = 0; i < 2; i++) {
      bench.faults.fail(step, ALWAYS);
      assertThatThrownBy(() -> branch(mode))
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.INTERNAL);
                assertThat(e.message()).contains("fault at " + step);
              });
      bench.faults.clear();
      assertGoesOn();
      assertNothingOfIt(with);
    }
    assertThat(branch(mode).status()).isEqualTo(Snapshot.Status.READY);
    assertGoesOn();
  }

  static Stream<Arguments> faultsOfTheTwin() {
    return Stream.of("vmm.copier", "vmm.freeze", "vmm.copy", "vmm.pause", "vmm.switch-overlay")
        .flatMap(step -> Stream.of(Mode.DIFF, Mode.LIVE).map(mode -> Arguments.of(mode, step)));
  }

  /** Where the process cannot be copied this time, the state is taken in the pause, and told so. */
  @ParameterizedTest
  @MethodSource("faultsOfTheTwin")
  void theTwinFails(Mode mode, String step) throws IOException {
    bench.faults.fail(step, 1);
    Snapshot snapshot = branch(mode);
    assertThat(bench.faults.struck()).containsExactly(step);
    assertThat(snapshot.status()).isEqualTo(Snapshot.Status.READY);
    assertThat(snapshot.warning().isPresent()).isEqualTo(mode == Mode.LIVE);
    assertGoesOn();
  }

  /** A twin that cannot be finished after the pause fails the branch. */
  @ParameterizedTest
  @MethodSource("differing")
  void theTwinIsLost(Mode mode) throws IOException {
    Set<String> with = bench.files();
    bench.faults.fail("vmm.finish", 1);
    assertThatThrownBy(() -> branch(mode)).hasMessageContaining("fault at vmm.finish");
    assertGoesOn();
    assertNothingOfIt(with);
    branch(mode);
  }

  static Stream<Mode> differing() {
    return Stream.of(Mode.DIFF, Mode.LIVE);
  }

  static Stream<Mode> modes() {
    return Stream.of(Mode.values());
  }

  /** A resume that fails is tried again, whether or not that is the end of the branch. */
  @ParameterizedTest
  @MethodSource("modes")
  void theFirstResumeFails(Mode mode) {
    bench.faults.fail("vmm.resume", 1);
    if (mode == Mode.DIFF || mode == Mode.LIVE) {
      // It was sent together with the switch of the disk, which counts as failed with it.
      assertThatThrownBy(() -> branch(mode)).hasMessageContaining("fault at vmm.resume");
    } else {
      assertThat(branch(mode).status()).isEqualTo(Snapshot.Status.READY);
    }
    assertThat(bench.faults.struck()).containsExactly("vmm.resume");
    assertGoesOn();
  }

  /** A source that cannot be resumed is not given up: the next request resumes it. */
  @ParameterizedTest
  @MethodSource("modes")
  void noResumeSucceeds(Mode mode) throws IOException {
    Set<String> with = bench.files();
    bench.faults.fail("vmm.resume", ALWAYS);
    assertThatThrownBy(() -> branch(mode))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("fault at vmm.resume");
    bench.faults.clear();
    source.enter().close();
    assertGoesOn();
    assertNothingOfIt(with);
    branch(mode);
  }

  /** A monitor that does not answer in time is asked once, not five times as long. */
  @Test
  void aSilentMonitorIsNotAskedToResumeAgain() {
    bench.faults.fail("vmm.resume", ALWAYS, ErrorCode.DEADLINE_EXCEEDED);
    assertThatThrownBy(() -> branch(Mode.FULL))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DEADLINE_EXCEEDED));
    assertThat(bench.faults.struck()).containsExactly("vmm.resume");
    bench.faults.clear();
    source.enter().close();
    assertGoesOn();
  }

  /** Processes that cannot be frozen stay as they are, and thawed. */
  @ParameterizedTest
  @MethodSource("modes")
  void theFreezeFails(Mode mode) throws IOException {
    Set<String> with = bench.files();
    guest.on("freeze", FakeGuest.failing("deadline_exceeded", "cannot be frozen in time"));
    assertThatThrownBy(() -> branch(mode))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DEADLINE_EXCEEDED));
    assertGoesOn();
    assertThat(guest.asked()).contains("thaw");
    assertNothingOfIt(with);
  }

  /** A thaw that fails is tried again; nobody's processes stay stopped for one lost word. */
  @Test
  void theFirstThawFails() {
    AtomicInteger left = new AtomicInteger(1);
    guest.on(
        "thaw",
        request ->
            left.getAndDecrement() > 0
                ? FakeGuest.failing("internal", "not now").to(request)
                : guest.thaw());
    assertThat(branch(Mode.DIFF).status()).isEqualTo(Snapshot.Status.READY);
    assertThat(left.get()).isLessThanOrEqualTo(0);
    assertGoesOn();
  }

  /** Nobody waits for it any more: the tag tells what happened, until it is deleted. */
  @Test
  void storingFailsWithNobodyWaiting() throws IOException {
    Set<String> with = bench.files();
    bench.faults.fail("vmm.save", ALWAYS);
    bench.brancher.branch(
        source, new BranchSpec(Optional.of(TAG), Mode.LIVE, Optional.empty(), false));
    await()
        .atMost(PATIENCE)
        .untilAsserted(
            () -> assertThat(bench.snapshots.get(TAG).status()).isEqualTo(Snapshot.Status.FAILED));
    bench.faults.clear();
    assertGoesOn();
    bench.snapshots.delete(TAG, DeleteMode.REFUSE);
    await().atMost(PATIENCE).untilAsserted(() -> assertNothingOfIt(with));
    assertThat(branch(Mode.LIVE).status()).isEqualTo(Snapshot.Status.READY);
  }
}
