package dev.forkd.fork;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.testkit.Workbench;
import dev.forkd.vmm.RunningVm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Zygotes from the first fork to the end of the daemon. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class ZygotesTest {
  private static final Tag TAG = new Tag("b");

  @TempDir Path root;

  private Workbench bench;

  @BeforeEach
  void open() throws IOException {
    bench = new Workbench(root).withBase();
  }

  @AfterEach
  void close() {
    bench.close();
  }

  /** One that was killed is made again, and nothing of the first is left. */
  @Test
  void aKilledOneIsMadeAgain() throws IOException {
    SnapshotManifest base = bench.snapshots.require(Workbench.BASE);
    String first;
    Set<String> files;
    try (ZygoteShelf.Lease lease = bench.zygotes.lease(base).orElseThrow()) {
      first = lease.zygote().id();
      files = bench.files();
      lease.zygote().end();
    }
    try (ZygoteShelf.Lease lease = bench.zygotes.lease(base).orElseThrow()) {
      assertThat(lease.zygote().id()).isNotEqualTo(first);
      assertThat(lease.zygote().alive()).isTrue();
    }
    assertThat(bench.files()).hasSize(files.size()).noneMatch(file -> file.contains(first));
  }

  /** The copy that a branch has taken does not outlive the daemon that nobody forks it in. */
  @Test
  void whatABranchLeavesWhileClosingEnds() throws IOException {
    SnapshotManifest base = bench.snapshots.require(Workbench.BASE);
    RunningVm twin = bench.sandbox().vm();
    bench.zygotes.close();
    bench.zygotes.adopt("zy1", base, twin, base.memory().getFirst().id(), 1);
    assertThat(twin.exit()).succeedsWithin(Duration.ofSeconds(10));
  }

  /** The files of a template are checked ahead also where processes cannot be copied. */
  @Test
  void filesAreCheckedWithoutZygotesToo() throws IOException {
    Sandbox source = bench.sandbox();
    bench.brancher.branch(
        source, new BranchSpec(Optional.of(TAG), BranchSpec.Mode.FULL, Optional.empty()));
    SnapshotManifest branched = bench.snapshots.require(TAG);
    bench.leave();
    Path verdicts = bench.dir.images().resolveSibling("images.intact");
    Files.delete(verdicts);
    bench = bench.successor();
    bench.snapshots.load();
    bench.faults.fail("vmm.freeze", 1);
    assertThat(bench.zygotes.lease(bench.snapshots.require(Workbench.BASE))).isEmpty();
    assertThat(bench.zygotes.obstacle()).isPresent();
    assertThat(verdicts).doesNotExist();
    bench.zygotes.prepare(List.of(TAG));
    await()
        .untilAsserted(() ->
            assertThat(verdicts)
                .content()
                .contains(
                    branched.disk().stream()
                        .map(SnapshotManifest.LayerRef::id)
                        .toArray(String[]::new)));
  }
}
