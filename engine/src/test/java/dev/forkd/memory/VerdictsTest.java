package dev.forkd.memory;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is known about image files, from one daemon to the next. */
class VerdictsTest {
  private static final String HASH = "ab".repeat(32);
  private static final Verdicts.Stamp STAMP = new Verdicts.Stamp(1, 2, 3, 4);

  @TempDir Path dir;

  private Verdicts open(String boot) {
    return new Verdicts(dir.resolve("ram.intact"), boot);
  }

  /** A verdict outlives its daemon, but not the host's boot, and counts for its state alone. */
  @Test
  void survivesUntilTheNextBoot() {
    open("b1").remember("m1", HASH, STAMP);
    Verdicts next = open("b1");
    assertThat(next.known("m1", HASH, STAMP)).isTrue();
    assertThat(next.known("m2", HASH, STAMP)).isFalse();
    assertThat(next.known("m1", "cd".repeat(32), STAMP)).isFalse();
    assertThat(next.known("m1", HASH, new Verdicts.Stamp(1, 2, 3, 5))).isFalse();
    assertThat(open("b2").known("m1", HASH, STAMP)).isFalse();
    Verdicts without = open("");
    assertThat(without.known("m1", HASH, STAMP)).isFalse();
    without.remember("m2", HASH, STAMP);
    assertThat(open("").known("m2", HASH, STAMP)).isFalse();
  }

  /** Whatever is in the file, good lines count and the others do not. */
  @Test
  void damagedFiles() throws Exception {
    Path file = dir.resolve("ram.intact");
    open("b1").remember("m1", HASH, STAMP);
    byte[] noise = new byte[2000];
    new Random(5).nextBytes(noise);
    Files.write(file, "\n".getBytes(StandardCharsets.US_ASCII), StandardOpenOption.APPEND);
    Files.write(file, noise, StandardOpenOption.APPEND);
    Files.writeString(
        file, "\nb1 m2 " + HASH + " 1 2 3\nb1 m3 x y z 3 4\n", StandardOpenOption.APPEND);
    Verdicts next = open("b1");
    assertThat(next.known("m1", HASH, STAMP)).isTrue();
    assertThat(next.known("m2", HASH, STAMP)).isFalse();
    next.keep(List.of("m1"));
    assertThat(file).content(StandardCharsets.US_ASCII).hasLineCount(1);
    assertThat(open("b1").known("m1", HASH, STAMP)).isTrue();
  }

  /** The file does not grow without end when images come and go. */
  @Test
  void staysSmall() throws Exception {
    Verdicts verdicts = open("b1");
    for (int i = 0; i < 10_000; i++) {
      verdicts.remember("m" + i, HASH, STAMP);
      verdicts.forget("m" + (i - 1));
    }
    assertThat(Files.readAllLines(dir.resolve("ram.intact"))).hasSizeLessThan(5000);
    assertThat(open("b1").known("m9999", HASH, STAMP)).isTrue();
  }

  /** A file that cannot be written costs a hash later, and no failure now. */
  @Test
  void unwritable() throws Exception {
    Files.createDirectories(dir.resolve("ram.intact/x"));
    Verdicts verdicts = open("b1");
    verdicts.remember("m1", HASH, STAMP);
    assertThat(verdicts.known("m1", HASH, STAMP)).isTrue();
  }
}
