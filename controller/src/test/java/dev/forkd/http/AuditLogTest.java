package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The audit log's file: its size is bounded, and no mishap stops it for good. */
class AuditLogTest {
  private static final int MAX = 1000;

  @TempDir Path folder;

  private Path file() {
    return folder.resolve("audit.log");
  }

  private Path former() {
    return folder.resolve("audit.log.1");
  }

  private static void record(AuditLog log, int from, int to) {
    for (int i = from; i < to; i++) {
      log.record(Instant.EPOCH, "GET", "/" + i, 200, 1, "test", "r" + i);
    }
  }

  private static List<String> lines(Path file) throws IOException {
    return Files.readAllLines(file);
  }

  /** Two files, each within the bound, and the newest lines are there. */
  @Test
  void beginsAnewAtItsBound() throws Exception {
    try (AuditLog log = AuditLog.open(file(), MAX)) {
      record(log, 0, 100);
      assertThat(Files.size(file())).isPositive().isLessThanOrEqualTo(MAX);
      assertThat(Files.size(former())).isPositive().isLessThanOrEqualTo(MAX);
      assertThat(lines(file()).getLast()).contains("\"/99\"");
      assertThat(log.failures()).isZero();
    }
  }

  /** Somebody who rotates the file himself loses nothing and stops nothing. */
  @Test
  void survivesThatItsFileIsMovedAway() throws Exception {
    try (AuditLog log = AuditLog.open(file(), MAX)) {
      record(log, 0, 2);
      Files.move(file(), folder.resolve("kept"));
      record(log, 2, 100);
      assertThat(lines(folder.resolve("kept")).getFirst()).contains("\"/0\"");
      assertThat(lines(file()).getLast()).contains("\"/99\"");
      assertThat(log.failures()).isZero();
    }
  }

  /** While it cannot begin anew it goes on in the old file, and does so once it can. */
  @Test
  void goesOnWhileItCannotBeginAnew() throws Exception {
    Files.createDirectories(former().resolve("in the way"));
    try (AuditLog log = AuditLog.open(file(), MAX)) {
      record(log, 0, 30);
      assertThat(lines(file())).hasSize(30);
      assertThat(log.failures()).isPositive();
      Files.delete(former().resolve("in the way"));
      record(log, 30, 31);
      assertThat(lines(former())).hasSize(30);
      assertThat(lines(file())).hasSize(1);
    }
  }

  /** Whoever is interrupted writes his line all the same and stays interrupted; so do others. */
  @Test
  void anInterruptLosesNothing() throws Exception {
    try (AuditLog log = AuditLog.open(file(), MAX)) {
      Thread.currentThread().interrupt();
      record(log, 0, 1);
      assertThat(Thread.interrupted()).isTrue();
      record(log, 1, 2);
      assertThat(lines(file())).hasSize(2);
      assertThat(log.failures()).isZero();
    }
  }
}
