package dev.forkd.memory;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ContentHashTest {
  private static final int MIB = 1 << 20;

  @TempDir Path dir;
  private final ContentHash hasher = new ContentHash();

  @AfterEach
  void close() {
    hasher.close();
  }

  private String hash(Path file, Optional<String> parent) throws IOException {
    return hasher.begin(file, parent).await();
  }

  private static byte[] sha256(byte prefix, byte[]... parts) throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    digest.update(prefix);
    for (byte[] part : parts) {
      digest.update(part);
    }
    return digest.digest();
  }

  /** The hash is the documented one, computed here by hand: others can check an image with it. */
  @Test
  void theTreeIsAsDocumented() throws Exception {
    byte[] content = new byte[2 * MIB + 5];
    new Random(1).nextBytes(content);
    Path file = Files.write(dir.resolve("f"), content);
    byte[] left = sha256((byte) 0, Arrays.copyOfRange(content, 0, MIB));
    byte[] middle = sha256((byte) 0, Arrays.copyOfRange(content, MIB, 2 * MIB));
    byte[] right = sha256((byte) 0, Arrays.copyOfRange(content, 2 * MIB, content.length));
    byte[] top = sha256((byte) 1, sha256((byte) 1, left, middle), right);
    byte[] size = HexFormat.of().parseHex("0000000000200005");
    String parent = "cd".repeat(32);
    assertThat(hash(file, Optional.empty()))
        .isEqualTo(HexFormat.of().formatHex(sha256((byte) 2, size, top)));
    assertThat(hash(file, Optional.of(parent)))
        .isEqualTo(
            HexFormat.of()
                .formatHex(
                    sha256((byte) 2, size, parent.getBytes(StandardCharsets.US_ASCII), top)));
  }

  /** Holes hash as the zeros they read as, at any place, and are not read block by block. */
  @Test
  void holesAreZeros() throws Exception {
    for (long size : new long[] {0, 1, MIB, 3L * MIB, 5L * MIB + 4096}) {
      Path sparse = dir.resolve("sparse" + size);
      try (RandomAccessFile out = new RandomAccessFile(sparse.toFile(), "rw")) {
        out.setLength(size);
      }
      Path full = Files.write(dir.resolve("full" + size), new byte[(int) size]);
      assertThat(hash(sparse, Optional.empty())).isEqualTo(hash(full, Optional.empty()));
    }
    Path huge = dir.resolve("huge");
    try (RandomAccessFile out = new RandomAccessFile(huge.toFile(), "rw")) {
      out.setLength(1L << 40);
      out.seek(1L << 39);
      out.write(1);
    }
    long begin = System.nanoTime();
    assertThat(hash(huge, Optional.empty())).hasSize(64);
    assertThat(System.nanoTime() - begin).as("1 TiB of holes").isLessThan(100_000_000_000L);
  }

  /** Any changed bit, a cut and an extension give another hash. */
  @Test
  void everyBitCounts() throws Exception {
    Random random = new Random(7);
    byte[] content = new byte[3 * MIB + 100];
    random.nextBytes(content);
    Path file = Files.write(dir.resolve("f"), content);
    String good = hash(file, Optional.empty());
    for (int at : new int[] {0, MIB - 1, MIB, 2 * MIB + 17, content.length - 1}) {
      byte was = content[at];
      content[at] ^= (byte) (1 << random.nextInt(8));
      Files.write(file, content);
      assertThat(hash(file, Optional.empty())).as("byte %d", at).isNotEqualTo(good);
      content[at] = was;
    }
    Files.write(file, Arrays.copyOf(content, content.length - 1));
    String shorter = hash(file, Optional.empty());
    Files.write(file, Arrays.copyOf(content, content.length + 1));
    assertThat(hash(file, Optional.empty())).isNotEqualTo(shorter).isNotEqualTo(good);
  }
}
