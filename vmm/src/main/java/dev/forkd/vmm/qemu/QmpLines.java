package dev.forkd.vmm.qemu;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** Cuts a byte stream into lines, with a bound on their length. Not thread-safe. */
final class QmpLines {
  private final int maxLineBytes;
  private final ByteArrayOutputStream partial = new ByteArrayOutputStream();

  QmpLines(int maxLineBytes) {
    this.maxLineBytes = maxLineBytes;
  }

  /**
   * Takes all of {@code bytes}; returns the lines they complete, without empty ones.
   *
   * @throws IOException when a line grows beyond the bound
   */
  List<String> feed(ByteBuffer bytes) throws IOException {
    List<String> lines = new ArrayList<>();
    while (bytes.hasRemaining()) {
      byte next = bytes.get();
      if (next == '\n') {
        String line = partial.toString(StandardCharsets.UTF_8).strip();
        partial.reset();
        if (!line.isEmpty()) {
          lines.add(line);
        }
      } else {
        if (partial.size() >= maxLineBytes) {
          throw new IOException("a QMP line is longer than " + maxLineBytes + " bytes");
        }
        partial.write(next);
      }
    }
    return lines;
  }
}
