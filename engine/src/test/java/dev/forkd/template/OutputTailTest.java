package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

/** What a program that writes without end costs the daemon, and what is told of it. */
class OutputTailTest {
  private static final int CHUNK_BYTES = 16384;
  private static final int CHUNKS = 4096;

  @Test
  void onlyTheEndIsKeptHoweverMuchIsWritten() {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    byte[] chunk = "x".repeat(CHUNK_BYTES).getBytes(StandardCharsets.UTF_8);
    OutputTail tail = new OutputTail();
    long before = threads.getCurrentThreadAllocatedBytes();
    for (int i = 0; i < CHUNKS; i++) {
      tail.stdout(chunk);
    }
    assertThat(threads.getCurrentThreadAllocatedBytes() - before)
        .as("bytes taken for 64 MiB of output")
        .isLessThan(1 << 20);
    tail.stderr("the reason is told last\n".getBytes(StandardCharsets.UTF_8));
    assertThat(tail.text())
        .hasSizeLessThanOrEqualTo(2000)
        .endsWith("xxx" + "the reason is told last");
  }

  @Test
  void littleIsToldWhole() {
    OutputTail tail = new OutputTail();
    tail.stdout("one\n".getBytes(StandardCharsets.UTF_8));
    tail.stderr("two\n".getBytes(StandardCharsets.UTF_8));
    assertThat(tail.text()).isEqualTo("one\ntwo");
  }
}
