package dev.forkd.local;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.RecoveryReport;
import dev.forkd.engine.SandboxView;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.state.SandboxRow;
import dev.forkd.state.SandboxState;
import dev.forkd.testkit.FakeGuest;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What a start makes of the sandboxes that a former daemon has left. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class RecoveryTest {
  @TempDir Path root;

  private Workbench former;
  private Workbench bench;
  private Set<String> before = Set.of();

  @BeforeEach
  void open() throws IOException {
    former = new Workbench(root).withBase();
    before = former.files();
    bench = former;
  }

  @AfterEach
  void close() {
    bench.close();
  }

  /** As a daemon does that is told to stop and leaves its sandboxes as they are. */
  private RecoveryReport restart() {
    return restart(Map.of());
  }

  /**
   * @param failing steps that fail while the next one starts, and how often
   */
  private RecoveryReport restart(Map<String, Integer> failing) {
    former.leave();
    bench = former.successor();
    former = bench;
    failing.forEach(bench.faults::fail);
    return new Recovery(bench.parts).run();
  }

  private SandboxView view(SandboxId id) {
    return bench.sandboxes.get(id).view(true);
  }

  /** A sandbox with its handshake behind it. */
  private Sandbox verified() throws IOException {
    Sandbox sandbox = former.sandbox();
    sandbox.enter().close();
    sandbox.branched(root);
    return sandbox;
  }

  /** Many live ones are adopted, verified or not, and serve on; each is thawed. */
  @Test
  void theLivingAreAdopted() throws IOException {
    List<SandboxId> ids = new ArrayList<>();
    for (int i = 0; i < 20; i++) {
      ids.add((i % 2 == 0 ? verified() : former.sandbox()).id());
    }
    RecoveryReport report = restart();
    assertThat(report.adopted())
        .containsExactlyElementsOf(ids.stream().map(SandboxId::value).toList());
    assertThat(report.reaped()).isEmpty();
    for (SandboxId id : ids) {
      bench.sandboxes.get(id).enter().close();
      assertThat(view(id).certificate().state()).isEqualTo(Certificate.State.VERIFIED);
    }
  }

  /** What a forkd that knew less has written down can still be read. */
  @Test
  void rowsOfAnOlderForkdAreRead() throws IOException {
    String json = verified().record().toJson();
    String older = json.replaceAll("\"clockErrorMaxMillis\":\\d+,", "");
    assertThat(older).isNotEqualTo(json);
    Certificate read = SandboxRecord.fromJson(older).certificate();
    assertThat(read.state()).isEqualTo(Certificate.State.VERIFIED);
    assertThat(read.clockErrorMaxMillis()).isEmpty();
  }

  /** One whose guest does not answer is ended and failed, in the list and in the report alike. */
  @Test
  void oneThatDoesNotAnswerFails() throws IOException {
    Sandbox dumb = verified();
    Sandbox other = verified();
    former.guest(dumb).on("thaw", FakeGuest.failing("internal", "the guest is confused"));
    RecoveryReport report = restart();
    assertThat(report.adopted()).containsExactly(other.id().value());
    assertThat(report.reaped()).isEmpty();
    assertThat(report.settled())
        .singleElement()
        .asString()
        .contains(dumb.id().value(), "the guest is confused");
    SandboxView view = view(dumb.id());
    assertThat(view.state()).isEqualTo("failed");
    assertThat(view.failure().orElseThrow()).contains("taken over", "the guest is confused");
    assertThat(view.pid()).isEmpty();
    assertThat(ProcessHandle.of(dumb.vm().process().pid()).filter(ProcessHandle::isAlive))
        .isEmpty();
    assertThat(bench.files()).noneMatch(file -> file.contains(dumb.id().value()));
  }

  /** A full disk costs nobody a sandbox: what cannot be written down now is found out next time. */
  @Test
  void whatCannotBeWrittenDownIsAdopted() throws IOException {
    List<String> ids = List.of(verified().id().value(), former.sandbox().id().value());
    RecoveryReport report = restart(Map.of("store.untilHostStops", ids.size()));
    assertThat(bench.faults.struck())
        .containsExactly("store.untilHostStops", "store.untilHostStops");
    assertThat(report.adopted()).containsExactlyElementsOf(ids);
    for (int i = 0; i < 2; i++) {
      for (String id : ids) {
        bench.sandboxes.get(new SandboxId(id)).enter().close();
        assertThat(view(new SandboxId(id)).state()).isEqualTo("running");
      }
      assertThat(restart().adopted()).containsExactlyElementsOf(ids);
    }
  }

  /** The reason of a failed one is there after any number of restarts, until it is killed. */
  @Test
  void theFailedKeepTheirReason() throws IOException {
    Sandbox lost = verified();
    lost.vm().kill();
    SandboxId id = lost.id();
    for (int i = 0; i < 2; i++) {
      RecoveryReport report = restart();
      assertThat(report.reaped()).isEmpty();
      assertThat(view(id).state()).isEqualTo("failed");
      assertThat(view(id).failure()).isPresent();
      assertThat(bench.store.findSandbox(id.value()).map(SandboxRow::state))
          .contains(SandboxState.FAILED);
      assertThatThrownBy(() -> bench.sandboxes.get(id).enter())
          .isInstanceOfSatisfying(
              ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.UNAVAILABLE));
    }
    assertThat(bench.files()).isEqualTo(before);
    bench.sandboxes.kill(id);
    assertThat(bench.store.listSandboxes()).isEmpty();
    restart();
    assertThat(bench.sandboxes.all()).isEmpty();
  }

  /** A row may say that one lives which had failed when it was written: it keeps its reason too. */
  @Test
  void oneThatFailedEarlyKeepsItsReason() throws IOException {
    Sandbox lost = verified();
    SandboxRow row = former.store.findSandbox(lost.id().value()).orElseThrow();
    former.sandboxes.kill(lost.id());
    former.store.insertSandbox(
        row.withDetail(lost.record().withFailure("it reached its memory limit").toJson()));
    RecoveryReport report = restart();
    assertThat(report.adopted()).isEmpty();
    assertThat(report.settled())
        .containsExactly("failed: sandbox " + lost.id() + ": it reached its memory limit");
    assertThat(view(lost.id()).failure()).contains("it reached its memory limit");
    assertThat(bench.store.findSandbox(lost.id().value()).map(SandboxRow::state))
        .contains(SandboxState.FAILED);
  }

  /** Nobody has to clean up for the list to stay finite: the oldest failures are forgotten. */
  @Test
  void onlyTheNewestFailuresAreKept() throws IOException {
    Sandbox one = former.sandbox();
    SandboxRow row = former.store.findSandbox(one.id().value()).orElseThrow();
    SandboxRecord record = one.record();
    former.sandboxes.kill(one.id());
    former.store.inTransaction(tx -> {
      for (int i = 0; i < 1003; i++) {
        String id = "sbf%09d".formatted(i);
        String json = record.withFailure("number " + i).toJson().replace(record.id(), id);
        tx.insertSandbox(
            new SandboxRow(
                id, SandboxState.FAILED, row.snapshotTag(), 0, 0, i, row.memoryLimitMib(), json));
      }
      return 0;
    });
    RecoveryReport report = restart();
    assertThat(bench.sandboxes.size()).isEqualTo(1000);
    assertThat(report.reaped()).hasSize(3);
    assertThat(view(new SandboxId("sbf000000003")).failure()).contains("number 3");
    assertThat(bench.sandboxes.find(new SandboxId("sbf000000002"))).isEmpty();
    assertThat(bench.store.listSandboxes()).hasSize(1000);
  }

  /** Forks under way are undone and removals finished, processes and files included. */
  @Test
  void whatWasHalfDoneIsSettled() throws IOException {
    Sandbox starting = former.sandbox();
    Sandbox killing = former.sandbox();
    for (Sandbox sandbox : List.of(starting, killing)) {
      SandboxRow row = former.store.findSandbox(sandbox.id().value()).orElseThrow();
      former.store.updateSandbox(
          row.withState(sandbox == starting ? SandboxState.STARTING : SandboxState.KILLING));
    }
    RecoveryReport report = restart();
    assertThat(report.settled())
        .containsExactlyInAnyOrder(
            "undone: fork of " + starting.id(), "finished: removal of " + killing.id());
    assertThat(bench.sandboxes.all()).isEmpty();
    assertThat(bench.store.listSandboxes()).isEmpty();
    assertThat(bench.files()).isEqualTo(before);
  }
}
