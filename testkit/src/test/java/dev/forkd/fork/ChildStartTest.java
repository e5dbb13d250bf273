package dev.forkd.fork;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.engine.ForkSpec;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.state.SandboxRow;
import dev.forkd.state.SandboxState;
import dev.forkd.state.Tx;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What is written down of a child once it is there, whatever has become of it by then. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class ChildStartTest {
  private static final ForkSpec ONE =
      new ForkSpec(Workbench.BASE, 1, OptionalLong.empty(), false, false, false, "emulation");

  @TempDir Path root;

  /** A child that lives is LIVE, with its process. */
  @Test
  void theLivingAreLive() throws IOException {
    assertThat(settled(false, ChildStart::settle).state()).isEqualTo(SandboxState.LIVE);
  }

  /** One that failed while its siblings were being started has FAILED, and says why. */
  @Test
  void oneThatFailedMeanwhileHasFailed() throws IOException {
    assertFailed(settled(true, ChildStart::settle));
  }

  /** The same for one that waited in a pool. */
  @Test
  void oneThatFailedWhileItWaitedHasFailed() throws IOException {
    assertFailed(settled(true, (tx, child) -> ChildStart.handOut(tx, child, 1)));
  }

  private static void assertFailed(SandboxRow row) {
    assertThat(row.state()).isEqualTo(SandboxState.FAILED);
    assertThat(SandboxRecord.fromJson(row.detailJson()).failure().orElseThrow())
        .contains("its VMM ended");
    assertThat(row.pid()).isPositive();
  }

  /** The row of a child that was made, and perhaps ended, before {@code writing} wrote it. */
  private SandboxRow settled(boolean ends, BiConsumer<Tx, Sandbox> writing) throws IOException {
    try (Workbench bench = new Workbench(root).withBase()) {
      SnapshotManifest base = bench.snapshots.require(Workbench.BASE);
      ChildStart children = new ChildStart(bench.parts);
      SandboxRecord record = ChildStart.newRecord(ONE, base);
      Sandbox child =
          new Births(bench.parts)
              .of(
                  base,
                  1,
                  birth -> {
                    children.reserve(List.of(record), (_, _) -> {}, false);
                    return children.begin(record, birth);
                  });
      bench.sandboxes.add(child);
      if (ends) {
        child.vm().kill();
        await().until(() -> child.record().failure().isPresent());
      }
      return bench.store.inTransaction(tx -> {
        writing.accept(tx, child);
        return tx.findSandbox(record.id()).orElseThrow();
      });
    }
  }
}
