package dev.forkd.local;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.hosted.HostedHost;
import dev.forkd.snapshot.SnapshotFiles;
import dev.forkd.template.Rebooter;
import dev.forkd.template.TemplateAssets;
import dev.forkd.template.TemplateBaker;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What hosting is told of this engine's snapshots. */
class LocalHostedHostTest {
  @TempDir Path root;

  private HostedHost host(Workbench bench) {
    TemplateBaker.Parts parts =
        new TemplateBaker.Parts(
            bench.dir,
            new TemplateAssets(bench.dir.root(), root),
            bench.snapshots,
            bench.memory,
            bench.layers,
            bench.ledger,
            bench.vmm);
    return new LocalHostedHost(
        bench.sandboxes, bench.brancher, bench.snapshots, bench.zygotes, new Rebooter(parts));
  }

  /** A size stands in the manifest: no file is read for it, the fork that follows reads them. */
  @Test
  void aSizeNeedsNoFile() throws IOException {
    try (Workbench bench = new Workbench(root).withBase()) {
      Files.delete(bench.dir.snapshot(Workbench.BASE.value()).resolve(SnapshotFiles.DEVICES));
      assertThat(host(bench).size(Workbench.BASE)).isEqualTo(new HostedHost.Size(1, 1));
      assertCode(ErrorCode.FAILED_PRECONDITION, () -> bench.snapshots.bootable(Workbench.BASE));
    }
  }

  /** One that is not there, or failed while it was written, has none. */
  @Test
  void whatIsNotThereHasNoSize() throws IOException {
    try (Workbench bench = new Workbench(root).withBase()) {
      Tag tag = new Tag("b");
      assertCode(ErrorCode.NOT_FOUND, () -> host(bench).size(tag));
      bench.snapshots.failed(tag, "the disk was full");
      assertCode(ErrorCode.FAILED_PRECONDITION, () -> host(bench).size(tag));
    }
  }

  private static void assertCode(ErrorCode code, Runnable work) {
    assertThatThrownBy(work::run)
        .isInstanceOfSatisfying(ForkdException.class, e -> assertThat(e.code()).isEqualTo(code));
  }
}
