package dev.forkd.process;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;

/** Cuts bytes into lines; carriage returns end a line too, as progress bars use them. */
final class LineSplitter {
  /** A longer line is delivered in parts. */
  private static final int MAX_LINE_BYTES = 4096;

  private final Consumer<String> receiver;
  private final ByteArrayOutputStream line = new ByteArrayOutputStream();

  LineSplitter(Consumer<String> receiver) {
    this.receiver = receiver;
  }

  void append(byte[] bytes, int length) {
    for (int i = 0; i < length; i++) {
      if (bytes[i] == '\n' || bytes[i] == '\r') {
        end();
      } else {
        line.write(bytes[i]);
        if (line.size() >= MAX_LINE_BYTES) {
          end();
        }
      }
    }
  }

  /** Delivers what has come since the last line end, if anything. */
  void end() {
    if (line.size() > 0) {
      receiver.accept(line.toString(StandardCharsets.UTF_8));
      line.reset();
    }
  }
}
