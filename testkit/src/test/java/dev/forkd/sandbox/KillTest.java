package dev.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.linux.Cgroup;
import dev.forkd.state.SandboxRow;
import dev.forkd.state.SandboxState;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A kill ends the VM whatever else fails, and loses no sandbox of which something is left. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class KillTest {
  @TempDir Path root;

  private Workbench bench;
  private Set<String> before = Set.of();

  @BeforeEach
  void open() throws IOException {
    bench = new Workbench(root).withBase();
    before = bench.files();
  }

  @AfterEach
  void close() {
    bench.close();
  }

  private void assertGone(Sandbox sandbox) throws IOException {
    assertThat(sandbox.vm().exit()).succeedsWithin(Duration.ofSeconds(60));
    assertThat(bench.sandboxes.find(sandbox.id())).isEmpty();
    assertThat(bench.store.listSandboxes()).isEmpty();
    assertThat(bench.files()).isEqualTo(before);
    assertThatThrownBy(() -> bench.sandboxes.kill(sandbox.id()))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND));
  }

  private void assertNotGoneYet(SandboxId id) {
    assertThatThrownBy(() -> bench.sandboxes.kill(id))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.UNAVAILABLE);
              assertThat(e.message()).contains(id.value(), "kill it again");
            });
    assertThat(bench.sandboxes.get(id).view(true).state()).isEqualTo("killing");
    assertThatThrownBy(() -> bench.sandboxes.get(id).enter())
        .hasMessageContaining("is being killed");
    assertThat(bench.store.findSandbox(id.value()).map(SandboxRow::state))
        .contains(SandboxState.KILLING);
  }

  /** Nothing fails: nothing is left, and nobody can kill it twice. */
  @Test
  void nothingIsLeft() throws IOException {
    Sandbox sandbox = bench.sandbox();
    bench.sandboxes.kill(sandbox.id());
    assertGone(sandbox);
  }

  /**
   * A process that does not end keeps its sandbox in the list, its files, and can be killed again.
   */
  @Test
  void aProcessThatSurvives() throws IOException {
    Sandbox sandbox = bench.sandbox();
    Set<String> with = bench.files();
    bench.faults.fail("vmm.kill", 2);
    assertNotGoneYet(sandbox.id());
    assertNotGoneYet(sandbox.id());
    assertThat(bench.files()).isEqualTo(with);
    bench.sandboxes.kill(sandbox.id());
    assertGone(sandbox);
  }

  /** So does a cgroup that is still busy; its VM has ended by then. */
  @Test
  void aCgroupThatIsBusy() throws IOException {
    Path groups = Files.createDirectory(root.resolve("groups"));
    Cgroup group = Workbench.cgroup(groups, "busy");
    Path member = Files.writeString(groups.resolve("busy/cgroup.procs"), "4711\n");
    Sandbox sandbox = bench.sandbox(Optional.of(group));
    assertNotGoneYet(sandbox.id());
    assertThat(sandbox.vm().exit()).succeedsWithin(Duration.ofSeconds(60));
    Files.delete(member);
    bench.sandboxes.kill(sandbox.id());
    assertGone(sandbox);
    assertThat(groups).isEmptyDirectory();
  }

  /** A store that writes nothing, as on a full disk, keeps nobody from killing. */
  @ParameterizedTest
  @ValueSource(strings = {"store.findSandbox", "store.updateSandbox"})
  void aRowThatCannotBeMarked(String step) throws IOException {
    Sandbox sandbox = bench.sandbox();
    bench.faults.fail(step, 1);
    bench.sandboxes.kill(sandbox.id());
    assertThat(bench.faults.struck()).containsExactly(step);
    assertGone(sandbox);
  }

  /** A row that cannot be removed is removed with the next one. */
  @Test
  void aRowThatCannotBeRemoved() throws IOException {
    Sandbox first = bench.sandbox();
    Sandbox second = bench.sandbox();
    bench.faults.fail("store.deleteSandbox", 1);
    bench.sandboxes.kill(first.id());
    assertThat(first.vm().exit()).succeedsWithin(Duration.ofSeconds(60));
    assertThat(bench.sandboxes.find(first.id())).isEmpty();
    assertThat(bench.store.findSandbox(first.id().value()).map(SandboxRow::state))
        .contains(SandboxState.KILLING);
    bench.sandboxes.kill(second.id());
    assertGone(first);
  }
}
