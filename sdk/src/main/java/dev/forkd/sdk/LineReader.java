package dev.forkd.sdk;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.util.Optional;

/** Splits a stream into lines of bounded length. A last line that is cut off is an error. */
final class LineReader {
  private static final int LINE_BYTES_MAX = 64 << 20;
  private static final int BUFFER_BYTES = 16384;

  private final InputStream in;
  private final byte[] buffer = new byte[BUFFER_BYTES];
  private int from;
  private int to;

  LineReader(InputStream in) {
    this.in = in;
  }

  /** The next line without its end; empty at the end of the stream. */
  Optional<byte[]> next() throws IOException {
    ByteArrayOutputStream line = new ByteArrayOutputStream();
    while (true) {
      if (from == to) {
        to = Math.max(0, in.read(buffer));
        from = 0;
        if (to == 0) {
          if (line.size() > 0) {
            throw new EOFException("the answer ends in the middle of a line");
          }
          return Optional.empty();
        }
      }
      int end = from;
      while (end < to && buffer[end] != '\n') {
        end++;
      }
      line.write(buffer, from, end - from);
      if (line.size() > LINE_BYTES_MAX) {
        throw new IOException("a line of the answer is longer than " + LINE_BYTES_MAX + " bytes");
      }
      from = Math.min(to, end + 1);
      if (end < to) {
        return Optional.of(line.toByteArray());
      }
    }
  }
}
