package dev.forkd.http.envd;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestFiles;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Exchange;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.io.IOException;
import java.io.OutputStream;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.Optional;
import java.util.zip.Deflater;
import java.util.zip.GZIPOutputStream;

/** Files as the bodies of answers; they pass through in pieces. */
final class Downloads {
  private static final String BYTES = "application/octet-stream";
  private static final HeaderName IF_RANGE = HeaderNames.create("if-range");
  private static final DateTimeFormatter HTTP_DATE =
      DateTimeFormatter.ofPattern("EEE, dd MMM yyyy HH:mm:ss 'GMT'", Locale.US)
          .withZone(ZoneOffset.UTC);

  private Downloads() {}

  static void serve(Exchange exchange, Guest guest) {
    GuestFiles files = guest.files();
    String path =
        Acting.as(files, Query.of(exchange, "username"))
            .path(Query.of(exchange, "path").orElse(""));
    GuestFiles.Entry entry = existing(files, path);
    String modified = HTTP_DATE.format(Instant.ofEpochMilli(entry.modifiedUnixMillis()));
    exchange.header(HeaderNames.LAST_MODIFIED, modified);
    exchange.header(HeaderNames.VARY, "Accept-Encoding");
    if (notModified(exchange, entry)) {
      exchange.empty(304);
      return;
    }
    Encodings takes = Encodings.of(exchange.header(HeaderNames.ACCEPT_ENCODING));
    ByteRange part = part(exchange, entry, modified);
    if (part instanceof ByteRange.Whole && takes.gzip()) {
      compressed(exchange, files, path);
      return;
    }
    if (!takes.identity()) {
      throw new RestFailure(406, "the file can be had as it is or with gzip, nothing else");
    }
    exchange.header(HeaderNames.ACCEPT_RANGES, "bytes");
    switch (part) {
      case ByteRange.Whole _ ->
          plain(exchange, 200, files, path, new GuestFiles.Range(0, entry.sizeBytes()));
      case ByteRange.Part some -> {
        exchange.header(
            HeaderNames.CONTENT_RANGE,
            "bytes " + some.first() + "-" + some.last() + "/" + entry.sizeBytes());
        plain(exchange, 206, files, path, some.range());
      }
      case ByteRange.Beyond _ -> {
        exchange.header(HeaderNames.CONTENT_RANGE, "bytes */" + entry.sizeBytes());
        throw new RestFailure(416, "the file has " + entry.sizeBytes() + " bytes");
      }
    }
  }

  private static GuestFiles.Entry existing(GuestFiles files, String path) {
    GuestFiles.Entry entry;
    try {
      entry = files.follow(path);
    } catch (ForkdException e) {
      throw e.code() == ErrorCode.NOT_FOUND
          ? new ForkdException(ErrorCode.NOT_FOUND, "path '" + path + "' does not exist", e)
          : e;
    }
    switch (entry.type()) {
      case "file" -> {}
      case "directory" -> throw new RestFailure(400, "path '" + path + "' is a directory");
      case "symlink" ->
          throw new ForkdException(
              ErrorCode.NOT_FOUND, "path '" + path + "' is a link that leads nowhere");
      default -> throw new RestFailure(400, "path '" + path + "' is not a regular file");
    }
    return entry;
  }

  private static boolean notModified(Exchange exchange, GuestFiles.Entry entry) {
    Optional<String> since = exchange.header(HeaderNames.IF_MODIFIED_SINCE);
    if (since.isEmpty() || exchange.header(HeaderNames.IF_NONE_MATCH).isPresent()) {
      return false;
    }
    try {
      Instant limit = Instant.from(HTTP_DATE.parse(since.get()));
      return entry.modifiedUnixMillis() / 1000 <= limit.getEpochSecond();
    } catch (DateTimeException e) {
      return false; // A date that cannot be read is as if it were not there.
    }
  }

  private static ByteRange part(Exchange exchange, GuestFiles.Entry entry, String modified) {
    Optional<String> only = exchange.header(IF_RANGE);
    return only.isPresent() && !only.get().equals(modified)
        ? new ByteRange.Whole()
        : ByteRange.of(exchange.header(HeaderNames.RANGE), entry.sizeBytes());
  }

  private static void plain(
      Exchange exchange, int status, GuestFiles files, String path, GuestFiles.Range range) {
    // Files of /proc say that they have no bytes, and have some.
    boolean known = range.lengthBytes() > 0;
    if (known) {
      exchange.header(HeaderNames.CONTENT_LENGTH, Long.toString(range.lengthBytes()));
    }
    // Not closed on failure: a closed stream would tell the client that all is well.
    @SuppressWarnings("resource")
    OutputStream out = exchange.stream(status, BYTES);
    long written = files.read(path, known ? range : GuestFiles.Range.WHOLE, new Direct(out));
    if (known && written != range.lengthBytes()) {
      throw new ForkdException(ErrorCode.ABORTED, path + " became shorter while it was read");
    }
    finish(out);
  }

  private static void compressed(Exchange exchange, GuestFiles files, String path) {
    exchange.header(HeaderNames.CONTENT_ENCODING, "gzip");
    @SuppressWarnings("resource")
    OutputStream out = exchange.stream(200, BYTES);
    OutputStream zip;
    try {
      zip = new FastGzip(out);
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
    files.read(path, new Direct(zip));
    finish(zip);
  }

  private static void finish(OutputStream out) {
    try {
      out.close();
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
  }

  /** The cheapest compression: the way is short. */
  private static final class FastGzip extends GZIPOutputStream {
    FastGzip(OutputStream out) throws IOException {
      super(out, 16384);
      def.setLevel(Deflater.BEST_SPEED);
    }
  }

  /** Tells a client that is gone from a guest's failure. */
  private static final class Direct extends OutputStream {
    private final OutputStream out;

    Direct(OutputStream out) {
      this.out = out;
    }

    @Override
    public void write(int b) {
      write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int from, int count) {
      try {
        out.write(bytes, from, count);
      } catch (IOException e) {
        throw new ClientGoneException(e);
      }
    }
  }
}
