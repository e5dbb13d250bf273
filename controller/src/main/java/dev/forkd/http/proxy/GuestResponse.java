package dev.forkd.http.proxy;

import dev.forkd.http.envd.RestFailure;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * What a guest's server answers, read by us because one connection of a client leads to several
 * guests: where an answer ends must be known.
 *
 * @see <a href="https://www.rfc-editor.org/rfc/rfc9112">RFC 9112</a>
 */
record GuestResponse(int status, String reason, List<Field> fields) {
  private static final int HEAD_BYTES_MAX = 64 << 10;
  private static final int BUFFER_BYTES = 16384;

  /** A header line. */
  record Field(String name, String value) {
    boolean is(String lowerCaseName) {
      return name.toLowerCase(Locale.ROOT).equals(lowerCaseName);
    }
  }

  /** How long a body is. */
  sealed interface Length {
    record None() implements Length {}

    record Known(long bytes) implements Length {}

    record Chunked() implements Length {}

    record ToTheEnd() implements Length {}
  }

  Optional<String> field(String lowerCaseName) {
    return fields.stream().filter(f -> f.is(lowerCaseName)).map(Field::value).findFirst();
  }

  /** Reads a head; those that only say that another will come are passed over. */
  static GuestResponse read(InputStream in) throws IOException {
    while (true) {
      GuestResponse response = readOne(in);
      if (response.status() == 101 || response.status() >= 200) {
        return response;
      }
    }
  }

  private static GuestResponse readOne(InputStream in) throws IOException {
    int[] left = {HEAD_BYTES_MAX};
    String[] first = line(in, left).split(" ", 3);
    if (first.length < 2 || !first[0].startsWith("HTTP/1.") || !first[1].matches("[1-9][0-9]{2}")) {
      throw malformed("its first line is none of HTTP/1");
    }
    List<Field> fields = new ArrayList<>();
    for (String line = line(in, left); !line.isEmpty(); line = line(in, left)) {
      int colon = line.indexOf(':');
      if (colon < 1 || line.charAt(0) == ' ' || line.charAt(0) == '\t') {
        throw malformed("a header line is none");
      }
      fields.add(
          new Field(line.substring(0, colon).stripTrailing(), line.substring(colon + 1).strip()));
    }
    return new GuestResponse(Integer.parseInt(first[1]), first.length < 3 ? "" : first[2], fields);
  }

  private static RestFailure malformed(String what) {
    return new RestFailure(
        502, "the server in the sandbox gave no answer that can be read: " + what);
  }

  private static String line(InputStream in, int[] left) throws IOException {
    StringBuilder line = new StringBuilder();
    for (int b = in.read(); b != '\n'; b = in.read()) {
      if (b < 0) {
        throw new EOFException("the server in the sandbox closed the connection");
      }
      if (--left[0] < 0) {
        throw malformed("it is longer than " + HEAD_BYTES_MAX + " bytes");
      }
      line.append((char) b);
    }
    int length = line.length();
    return length > 0 && line.charAt(length - 1) == '\r'
        ? line.substring(0, length - 1)
        : line.toString();
  }

  /** How long the body is that follows, in answer to a request of this method. */
  Length length(String method) {
    if (method.equals("HEAD") || status == 204 || status == 304) {
      return new Length.None();
    }
    Optional<String> coding = field("transfer-encoding");
    if (coding.isPresent()) {
      return coding.get().toLowerCase(Locale.ROOT).endsWith("chunked")
          ? new Length.Chunked()
          : new Length.ToTheEnd();
    }
    Optional<String> length = field("content-length");
    if (length.isEmpty()) {
      return new Length.ToTheEnd();
    }
    if (!length.get().matches("[0-9]{1,18}")) {
      throw malformed("its Content-Length is no number");
    }
    return new Length.Known(Long.parseLong(length.get()));
  }

  /**
   * Copies the body, each piece as it comes.
   *
   * @throws EOFException when it ends too early
   */
  static void copy(InputStream in, Length length, OutputStream out) throws IOException {
    switch (length) {
      case Length.None _ -> {}
      case Length.Known known -> copy(in, known.bytes(), out);
      case Length.ToTheEnd _ -> {
        byte[] buffer = new byte[BUFFER_BYTES];
        for (int got = in.read(buffer); got >= 0; got = in.read(buffer)) {
          pass(buffer, got, out);
        }
      }
      case Length.Chunked _ -> {
        int[] left = {HEAD_BYTES_MAX};
        for (long size = chunkSize(line(in, left)); size > 0; size = chunkSize(line(in, left))) {
          copy(in, size, out);
          left[0] = HEAD_BYTES_MAX;
          if (!line(in, left).isEmpty()) {
            throw malformed("a chunk is longer than it says");
          }
        }
        while (!line(in, left).isEmpty()) {
          // Trailers are not passed on.
        }
      }
    }
  }

  private static long chunkSize(String line) {
    String digits = line.split(";", 2)[0].strip();
    if (!digits.matches("[0-9a-fA-F]{1,15}")) {
      throw malformed("a chunk has no size");
    }
    return Long.parseLong(digits, 16);
  }

  private static void copy(InputStream in, long bytes, OutputStream out) throws IOException {
    byte[] buffer = new byte[BUFFER_BYTES];
    for (long left = bytes; left > 0; ) {
      int got = in.read(buffer, 0, (int) Math.min(left, buffer.length));
      if (got < 0) {
        throw new EOFException("the server in the sandbox closed the connection too early");
      }
      pass(buffer, got, out);
      left -= got;
    }
  }

  private static void pass(byte[] buffer, int count, OutputStream out) throws IOException {
    out.write(buffer, 0, count);
    out.flush();
  }

  /** As bytes of a header line that came as text. */
  static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.ISO_8859_1);
  }
}
