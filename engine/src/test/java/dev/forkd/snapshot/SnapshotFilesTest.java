package dev.forkd.snapshot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.memory.MemoryImage;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SnapshotFilesTest {
  @TempDir Path dir;

  private static SnapshotManifest manifest(String tag) {
    return new SnapshotManifest(
        SnapshotManifest.VERSION,
        tag,
        1_700_000_000,
        false,
        Optional.empty(),
        new SnapshotManifest.Platform("QEMU 7.2", "emulation", "abcd", 2_596_122, "6.1", "ff"),
        512,
        2L << 30,
        List.of(
            new MemoryImage("m2", 512L << 20, Optional.of("m1"), 4096, "a1".repeat(32)),
            new MemoryImage("m1", 512L << 20, Optional.empty(), 8192, "b2".repeat(32))),
        List.of(
            new SnapshotManifest.LayerRef(
                "r1", "raw", OptionalLong.of(4096), Optional.of("ab".repeat(32)))),
        "00",
        "ab".repeat(32),
        true,
        Optional.empty(),
        Optional.of(
            new SnapshotManifest.Lineage(
                "python",
                "sb1",
                Optional.empty(),
                "diff",
                7,
                3,
                OptionalLong.of(5),
                OptionalLong.of(4096),
                OptionalLong.of(512L << 20))));
  }

  /** A manifest reads as it was written. */
  @Test
  void roundTrip() throws Exception {
    Path folder = Files.createDirectory(dir.resolve("b1"));
    SnapshotFiles.write(folder, manifest("b1"));
    assertThat(SnapshotFiles.read(folder)).isEqualTo(manifest("b1"));
    try (var files = Files.list(folder)) {
      assertThat(files).hasSize(1);
    }
  }

  /** Whatever is in the file, reading gives the manifest or DATA_LOSS that names the file. */
  @Test
  void damagedManifests() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    Path folder = Files.createDirectory(dir.resolve("b1"));
    SnapshotFiles.write(folder, manifest("b1"));
    Path file = folder.resolve(SnapshotFiles.MANIFEST);
    byte[] good = Files.readAllBytes(file);
    for (int round = 0; round < 500; round++) {
      byte[] bad = good.clone();
      switch (random.nextInt(3)) {
        case 0 -> bad = java.util.Arrays.copyOf(bad, random.nextInt(bad.length));
        case 1 -> bad[random.nextInt(bad.length)] = (byte) random.nextInt(256);
        default -> random.nextBytes(bad);
      }
      Files.write(file, bad);
      try {
        SnapshotFiles.read(folder);
      } catch (ForkdException e) {
        assertThat(e.code()).as("seed %d round %d", seed, round).isEqualTo(ErrorCode.DATA_LOSS);
        assertThat(e.message()).contains("snapshot.json", "forkd rmi");
      }
    }
  }

  /** A manifest in another tag's folder, of another version, or with unknown fields is refused. */
  @Test
  void wrongManifests() throws Exception {
    Path folder = Files.createDirectory(dir.resolve("b2"));
    SnapshotFiles.write(folder, manifest("b1"));
    assertThatThrownBy(() -> SnapshotFiles.read(folder)).hasMessageContaining("tag 'b1'");
    SnapshotFiles.write(folder, manifest("b2"));
    Path file = folder.resolve(SnapshotFiles.MANIFEST);
    String text = Files.readString(file, StandardCharsets.UTF_8);
    Files.writeString(file, text.replace("\"version\" : 2", "\"version\" : 1"));
    assertThatThrownBy(() -> SnapshotFiles.read(folder))
        .hasMessageContaining("version is 1, not 2");
    Files.writeString(file, text.replace("\"version\" : 2", "\"version\" : 2, \"new\" : 2"));
    assertThatThrownBy(() -> SnapshotFiles.read(folder)).isInstanceOf(ForkdException.class);
    Files.delete(file);
    assertThatThrownBy(() -> SnapshotFiles.read(folder)).hasMessageContaining("missing");
  }

  /** An image is given up when the last one who needs it lets go, and not before. */
  @Test
  void ledger() {
    ImageLedger ledger = new ImageLedger();
    ledger.hold("a", List.of("m1", "d1"));
    ledger.hold("b", List.of("m1", "d2"));
    assertThat(ledger.release("a")).containsExactly("d1");
    assertThat(ledger.isHeld("m1")).isTrue();
    assertThat(ledger.retain("b", List.of("m1"))).containsExactly("d2");
    assertThat(ledger.release("b")).containsExactly("m1");
    assertThat(ledger.release("b")).isEmpty();
    assertThat(ledger.isHeld("m1")).isFalse();
  }
}
