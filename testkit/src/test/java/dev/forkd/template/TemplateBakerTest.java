package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
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

/** A template that is made again: the old one is there until the new one has taken its place. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class TemplateBakerTest {
  private static final Tag TAG = new Tag("t");
  private static final int DISK_MIB = 256;

  @TempDir Path root;

  private Workbench bench;
  private TemplateBaker baker;
  private Path disk;
  private Path kernel;

  @BeforeEach
  void open() throws IOException {
    bench = new Workbench(root.resolve("bench"));
    Path home = root.resolve("home");
    Path agent = Files.createDirectories(home.resolve("guest/agent"));
    Files.writeString(agent.resolve("evaluator.py"), "");
    Path build =
        Files.writeString(agent.resolve("build"), "#!/bin/sh\ncp \"$0\" \"$1/forkd-agent\"");
    Files.setPosixFilePermissions(build, PosixFilePermissions.fromString("rwxr-xr-x"));
    String bootId = Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
    Files.createDirectories(bench.dir.guest());
    Files.writeString(
        bench.dir.guest().resolve("tsc.properties"), "boot_id=" + bootId + "\nkhz=1234567\n");
    TemplateAssets assets = new TemplateAssets(bench.dir.root(), home);
    baker =
        new TemplateBaker(
            new TemplateBaker.Parts(
                bench.dir,
                assets,
                bench.snapshots,
                bench.memory,
                bench.layers,
                bench.ledger,
                bench.vmm));
    disk = sparse("disk", 1080, new byte[] {0x53, (byte) 0xef});
    kernel = kernel();
  }

  @AfterEach
  void close() {
    bench.close();
  }

  /** A file as large as the disk, with these bytes in it. */
  private Path sparse(String name, int at, byte[] bytes) throws IOException {
    Path file = root.resolve(name);
    try (RandomAccessFile out = new RandomAccessFile(file.toFile(), "rw")) {
      out.setLength((long) DISK_MIB << 20);
      out.seek(at);
      out.write(bytes);
    }
    return file;
  }

  private Path kernel() throws IOException {
    byte[] image = new byte[0x800];
    System.arraycopy("HdrS".getBytes(StandardCharsets.US_ASCII), 0, image, 0x202, 4);
    image[0x20f] = 0x04;
    byte[] release = "6.1.0-1 ".getBytes(StandardCharsets.US_ASCII);
    System.arraycopy(release, 0, image, 0x600, release.length);
    return Files.write(root.resolve("vmlinuz"), image);
  }

  private TemplateSpec spec(Path image, boolean replace) {
    return new TemplateSpec(
        TAG,
        new TemplateSpec.Source.RootFile(image),
        Optional.of(kernel),
        128,
        DISK_MIB,
        List.of(),
        List.of(),
        Duration.ofSeconds(20),
        replace);
  }

  private SnapshotManifest bake(boolean replace) throws IOException {
    assertThat(baker.bake(spec(disk, replace), _ -> {}).status()).isEqualTo(Snapshot.Status.READY);
    return bench.snapshots.require(TAG);
  }

  private void assertFails(TemplateSpec spec, ErrorCode code) {
    assertThatThrownBy(() -> baker.bake(spec, _ -> {}))
        .isInstanceOfSatisfying(ForkdException.class, e -> assertThat(e.code()).isEqualTo(code));
  }

  /** Whatever fails while it is made again, the template is as it was, and nothing more is left. */
  @Test
  void whatFailsLeavesTheOldOne() throws IOException {
    SnapshotManifest old = bake(false);
    Set<String> files = bench.files();
    Path broken = sparse("broken", 0, new byte[] {1});
    assertFails(spec(broken, true), ErrorCode.INVALID_ARGUMENT);
    assertThat(bench.snapshots.require(TAG)).isEqualTo(old);
    assertThat(bench.files()).isEqualTo(files);
    for (String step : List.of("vmm.boot", "vmm.save", "store.inTransaction")) {
      bench.faults.fail(step, 1);
      assertFails(spec(disk, true), ErrorCode.INTERNAL);
      assertThat(bench.faults.struck()).endsWith(step);
      assertThat(bench.snapshots.require(TAG)).as(step).isEqualTo(old);
      assertThat(bench.files()).as(step).isEqualTo(files);
    }
    assertThat(bench.snapshots.load()).isEmpty();
  }

  /** The new one takes the place of the old one, of which nothing is left. */
  @Test
  void theNewOneTakesThePlaceOfTheOld() throws IOException {
    SnapshotManifest old = bake(false);
    int files = bench.files().size();
    SnapshotManifest made = bake(true);
    assertThat(made.memory()).doesNotContainAnyElementsOf(old.memory());
    assertThat(made.disk()).doesNotContainAnyElementsOf(old.disk());
    assertThat(bench.files()).hasSize(files);
    assertThat(bench.snapshots.list()).hasSize(1);
    assertThat(bake(false)).as("is there already").isEqualTo(made);
  }

  /** A new one that fails leaves nothing, and neither does its image when its tag was taken. */
  @Test
  void whatFailsTheFirstTimeLeavesNothing() throws IOException {
    Set<String> before = bench.files();
    bench.faults.fail("store.untilHostStops", 1);
    assertFails(spec(disk, false), ErrorCode.INTERNAL);
    assertThat(bench.snapshots.contains(TAG)).isFalse();
    assertThat(bench.files()).isEqualTo(before);
    bake(false);
    bench.snapshots.delete(TAG, DeleteMode.REFUSE);
    assertThat(bench.files()).isEqualTo(before);
  }
}
