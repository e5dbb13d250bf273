package dev.forkd.http.envd;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestFiles;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Exchange;
import io.helidon.http.Header;
import io.helidon.http.HeaderNames;
import java.io.EOFException;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.TreeMap;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipException;

/** Files as the bodies of requests, one or several; they pass through in pieces. */
final class Uploads {
  private static final String METADATA = "x-metadata-";
  private static final int METADATA_NAME_BYTES_MAX = 246;
  private static final int METADATA_BYTES_MAX = 4096;

  /** Of all files of a form: each path is kept for the answer. */
  private static final int PATHS_CHARS_MAX = 1 << 20;

  /**
   * How long a refused body is read on. A client reads its answer only when it has sent all, and a
   * connection that is closed before that is reset. One that sends nothing is dropped anyway.
   */
  private static final Duration DRAIN_TIME_MAX = Duration.ofMinutes(10);

  private final GuestFiles files;
  private final Acting acting;
  private final Optional<String> path;
  private final Map<String, String> metadata;
  private final Set<String> taken = new HashSet<>();
  private final List<Written> written = new ArrayList<>();
  private int pathsChars;

  /** What the client is told of a file. */
  record Written(String name, String path, String type, Optional<Map<String, String>> metadata) {}

  private Uploads(Exchange exchange, Guest guest) {
    this.files = guest.files();
    this.acting = Acting.as(files, Query.of(exchange, "username"));
    this.path = Query.of(exchange, "path").filter(given -> !given.isEmpty());
    this.metadata = metadata(exchange);
  }

  static void serve(Exchange exchange, Guest guest) {
    @SuppressWarnings("resource") // The server's own.
    Body body = new Body(exchange.bodyStream());
    Uploads uploads;
    try {
      uploads = new Uploads(exchange, guest);
      uploads.all(exchange, decoded(exchange, body));
    } catch (IOException | UncheckedIOException e) {
      throw unreadable(exchange, body, e);
    } catch (ForkdException | RestFailure e) {
      drain(exchange, body);
      throw e;
    }
    exchange.json(200, uploads.written, uploads.answerChars());
  }

  private int answerChars() {
    int metadataChars =
        metadata.entrySet().stream()
            .mapToInt(word -> word.getKey().length() + word.getValue().length())
            .sum();
    return 2 * pathsChars + written.size() * metadataChars;
  }

  private static RuntimeException unreadable(Exchange exchange, Body body, Exception e) {
    if (body.failed) {
      return new ClientGoneException(e);
    }
    drain(exchange, body);
    for (Throwable cause = e; cause != null; cause = cause.getCause()) {
      if (cause instanceof ZipException || cause instanceof EOFException) {
        return new RestFailure(400, "the body is not gzip: " + cause.getMessage());
      }
    }
    return new RestFailure(400, "the body is no form: " + e.getMessage());
  }

  /** What the client sends; a failure to read it is the client's departure, not bad input. */
  private static final class Body extends FilterInputStream {
    private boolean failed;

    Body(InputStream of) {
      super(of);
    }

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] into, int offset, int length) throws IOException {
      try {
        return in.read(into, offset, length);
      } catch (IOException | RuntimeException e) {
        failed = true;
        throw e;
      }
    }
  }

  private static void drain(Exchange exchange, InputStream body) {
    byte[] buffer = new byte[16384];
    long endNanos = System.nanoTime() + DRAIN_TIME_MAX.toNanos();
    try {
      while (body.read(buffer) >= 0) {
        if (System.nanoTime() - endNanos > 0) {
          exchange.closeConnection();
          return;
        }
      }
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
  }

  private static InputStream decoded(Exchange exchange, InputStream body) throws IOException {
    String encoding =
        exchange.header(HeaderNames.CONTENT_ENCODING).orElse("identity").toLowerCase(Locale.ROOT);
    return switch (encoding) {
      case "identity", "" -> body;
      case "gzip", "x-gzip" -> new GZIPInputStream(body, 16384);
      default -> throw new RestFailure(400, "content encoding '" + encoding + "' is not supported");
    };
  }

  private void all(Exchange exchange, InputStream body) throws IOException {
    String type = exchange.header(HeaderNames.CONTENT_TYPE).orElse("");
    String kind = type.split(";", 2)[0].strip().toLowerCase(Locale.ROOT);
    switch (kind) {
      case "multipart/form-data" -> form(type, body);
      case "application/octet-stream" ->
          write(path.orElseThrow(() -> new RestFailure(400, "the path is missing")), body);
      default ->
          throw new RestFailure(
              400, "send multipart/form-data or application/octet-stream, not '" + kind + "'");
    }
    if (written.isEmpty()) {
      throw new RestFailure(400, "the form has no part named 'file'");
    }
  }

  private void form(String type, InputStream body) throws IOException {
    Forms form = Forms.read(type, body);
    for (Optional<Forms.Part> next = form.next(); next.isPresent(); next = form.next()) {
      Forms.Part part = next.get();
      if (part.field().equals("file")) {
        String target =
            path.or(part::fileName)
                .filter(name -> !name.isEmpty())
                .orElseThrow(() -> new RestFailure(400, "a part has no file name"));
        write(target, part.content());
      }
    }
  }

  private void write(String target, InputStream content) {
    String whole = acting.path(target);
    pathsChars += whole.length();
    if (pathsChars > PATHS_CHARS_MAX) {
      throw new RestFailure(
          400,
          "the paths of the files have more than "
              + PATHS_CHARS_MAX
              + " characters together; send the other files in another request");
    }
    if (!taken.add(whole)) {
      throw new RestFailure(400, "two files for the path '" + whole + "'");
    }
    try {
      files.write(
          whole,
          content,
          new GuestFiles.WriteSpec(
              OptionalInt.empty(),
              Optional.of(acting.account().name()),
              Optional.of(metadata),
              true));
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.CANCELLED && e.getCause() instanceof IOException source) {
        throw new UncheckedIOException(source); // It is the body that cannot be read.
      }
      throw refusal(whole, e);
    }
    written.add(
        new Written(
            FilesystemMessages.name(whole),
            whole,
            "file",
            metadata.isEmpty() ? Optional.empty() : Optional.of(metadata)));
  }

  private static RuntimeException refusal(String path, ForkdException e) {
    return switch (e.code()) {
      case FAILED_PRECONDITION, ALREADY_EXISTS, INVALID_ARGUMENT ->
          new RestFailure(400, "path '" + path + "' cannot be written: " + e.message());
      case RESOURCE_EXHAUSTED ->
          // With a time to wait it is the host that is full, not the guest's disk.
          e.details().containsKey(ForkdException.RETRY_AFTER_SECONDS)
              ? e
              : new RestFailure(507, "not enough space for '" + path + "': " + e.message());
      default -> e;
    };
  }

  private static Map<String, String> metadata(Exchange exchange) {
    Map<String, String> metadata = new TreeMap<>();
    int bytes = 0;
    for (Header header : exchange.headers()) {
      String name = header.headerName().lowerCase();
      if (name.startsWith(METADATA)) {
        String key = name.substring(METADATA.length());
        String value = header.get();
        bytes += key.length() + value.length();
        if (key.isEmpty() || key.length() > METADATA_NAME_BYTES_MAX || !isPrintable(value)) {
          throw new ForkdException(
              ErrorCode.INVALID_ARGUMENT,
              "metadata '"
                  + key.substring(0, Math.min(key.length(), 100))
                  + "': a name has 1 to "
                  + METADATA_NAME_BYTES_MAX
                  + " characters, a value only printable ASCII");
        }
        metadata.put(key, value);
      }
    }
    if (bytes > METADATA_BYTES_MAX) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "metadata of " + bytes + " bytes; at most " + METADATA_BYTES_MAX);
    }
    return metadata;
  }

  private static boolean isPrintable(String value) {
    return value.chars().allMatch(c -> c >= ' ' && c <= '~');
  }
}
