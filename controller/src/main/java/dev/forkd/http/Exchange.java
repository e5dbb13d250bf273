package dev.forkd.http;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.rest.Json;
import io.helidon.common.socket.SocketWriterException;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import io.helidon.http.HeaderValues;
import io.helidon.http.Headers;
import io.helidon.http.Status;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * One request and its answer, in the few words the routes need. Used by the request's thread;
 * {@link NdjsonStream} is what other threads may write to.
 */
public final class Exchange implements Head {
  private static final int LARGE_CHARS = 256 << 10;

  private final ServerRequest request;
  private final ServerResponse response;
  private final String requestId;
  private final String rawPath;
  private final TransferGuard transfers;
  private final Optional<Inbound> inbound;
  private final HeapBudget bodies;
  private final Cut cut = new Cut();
  private Map<String, String> segments = Map.of();
  private String owner = "";
  private Optional<HeapBudget.Share> held = Optional.empty();
  private int status;
  private boolean started;
  private boolean authenticated;

  Exchange(
      ServerRequest request,
      ServerResponse response,
      String rawPath,
      String requestId,
      TransferGuard transfers,
      Optional<Inbound> inbound,
      HeapBudget bodies) {
    this.request = request;
    this.response = response;
    this.rawPath = rawPath;
    this.requestId = requestId;
    this.transfers = transfers;
    this.inbound = inbound;
    this.bodies = bodies;
  }

  /** The segments of the path in braces. */
  public void matched(Map<String, String> found) {
    this.segments = found;
  }

  @Override
  public String method() {
    return request.prologue().method().text();
  }

  @Override
  public String rawPath() {
    return rawPath;
  }

  @Override
  public String rawQuery() {
    return request.prologue().query().rawValue();
  }

  @Override
  public Headers headers() {
    return request.headers();
  }

  /** Ends this request from outside. */
  public Cut cut() {
    return cut;
  }

  /**
   * Runs {@code action}, which must not block, when the client has gone away or will send no more.
   * To be called when the body has been read.
   */
  public Cut.Standing onGone(Runnable action) {
    return inbound.map(client -> client.onGone(action)).orElse(() -> {});
  }

  /** Whoever sends this has shown a secret: its connection is kept longer. */
  public void authenticated() {
    authenticated = true;
  }

  boolean isAuthenticated() {
    return authenticated;
  }

  public String requestId() {
    return requestId;
  }

  /** Whether the answer has begun, so that its status can no longer change. */
  public boolean started() {
    return started;
  }

  /** The status that was answered; 0 before. */
  int status() {
    return status;
  }

  /** A segment of the path in braces, decoded. */
  public String segment(String name) {
    String raw = segments.get(name);
    if (raw == null) {
      throw new IllegalStateException("the route has no segment {" + name + "}");
    }
    try {
      // A plus sign stands for itself in a path.
      return URLDecoder.decode(raw.replace("+", "%2B"), StandardCharsets.UTF_8);
    } catch (IllegalArgumentException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "the path segment '" + raw + "' is not percent-encoded", e);
    }
  }

  /** The sandbox named in the path; what cannot be an id is as unknown as any other. */
  public SandboxId sandboxId() {
    String id = segment("id");
    if (!SandboxId.isLegal(id)) {
      throw new ForkdException(ErrorCode.NOT_FOUND, "sandbox " + shortened(id) + " not found");
    }
    return new SandboxId(id);
  }

  /** The tag named in the path. */
  public Tag tag() {
    return new Tag(shortened(segment("tag")));
  }

  /** A parameter of the query, decoded; the first if it is there several times. */
  public Optional<String> query(String name) {
    try {
      return request.query().contains(name)
          ? request.query().all(name).stream().findFirst()
          : Optional.empty();
    } catch (IllegalArgumentException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "the query parameter '" + name + "' is not decodable", e);
    }
  }

  /** A parameter that is {@code true} or {@code false}; false when absent. */
  public boolean queryFlag(String name) {
    Optional<String> value = query(name);
    if (value.isEmpty()) {
      return false;
    }
    return switch (value.get()) {
      case "true" -> true;
      case "false" -> false;
      default ->
          throw new ForkdException(
              ErrorCode.INVALID_ARGUMENT,
              "query parameter '"
                  + name
                  + "' is '"
                  + shortened(value.get())
                  + "'; send true or false");
    };
  }

  /** The body as a message. */
  public <T> T body(Class<T> type) {
    String contentType = header(HeaderNames.CONTENT_TYPE).orElse("");
    if (!isJson(contentType)) {
      throw new HttpFailure(
          415,
          ErrorCode.INVALID_ARGUMENT,
          "the body must be JSON: send 'Content-Type: application/json', not '"
              + shortened(contentType)
              + "'");
    }
    return Json.read(boundedBody(), type);
  }

  private static boolean isJson(String contentType) {
    String type = contentType.split(";", 2)[0].strip().toLowerCase(Locale.ROOT);
    return type.equals("application/json")
        || (type.startsWith("application/") && type.endsWith("+json"));
  }

  private byte[] boundedBody() {
    if (!request.content().hasEntity()) {
      return new byte[0];
    }
    try (InputStream body = bodyStream()) {
      if (announcedBytes() > Limits.JSON_BYTES_MAX) {
        throw tooLarge(body);
      }
      byte[] bytes = kept(body, Limits.JSON_BYTES_MAX + 1);
      if (bytes.length > Limits.JSON_BYTES_MAX) {
        throw tooLarge(body);
      }
      return bytes;
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
  }

  private long announcedBytes() {
    return request.headers().contentLength().orElse(0);
  }

  /**
   * Reads {@code body}, or the first bytes of it, to keep them until this request is answered.
   *
   * @throws ForkdException RESOURCE_EXHAUSTED when all requests together keep too much
   */
  public byte[] kept(InputStream body, int bytesMax) throws IOException {
    HeapBudget.Share share = held.orElseGet(this::holding);
    held = Optional.of(share);
    return kept(body, bytesMax, share);
  }

  /** The same, but kept for as long as {@code share} is open. */
  public byte[] kept(InputStream body, int bytesMax, HeapBudget.Share share) throws IOException {
    try {
      return share.counted(body).readNBytes(bytesMax);
    } catch (ForkdException e) {
      readAway(body);
      throw e;
    }
  }

  /** What is held from now on of this request's body; whoever asks for it closes it. */
  public HeapBudget.Share holding() {
    return bodies.share(owner);
  }

  /** What is held of the body counts for this sandbox: one may not take the room of all. */
  public void countedFor(String sandbox) {
    owner = sandbox;
  }

  /** The request is over, so nothing of its body is held any more. */
  void release() {
    held.ifPresent(HeapBudget.Share::close);
  }

  /**
   * A connection that is closed while its client still sends is reset, and the client may never
   * read why: some of the rest is therefore read away first. The connection cannot be used again.
   */
  private void readAway(InputStream body) throws IOException {
    closeConnection();
    if (announcedBytes() <= Limits.UNWANTED_BYTES_MAX) {
      byte[] away = new byte[64 << 10];
      long left = Limits.UNWANTED_BYTES_MAX;
      for (int n = body.read(away); n >= 0 && left > n; n = body.read(away)) {
        left -= n;
      }
    }
  }

  private HttpFailure tooLarge(InputStream body) throws IOException {
    readAway(body);
    return new HttpFailure(
        413,
        ErrorCode.INVALID_ARGUMENT,
        "the body is larger than "
            + Limits.JSON_BYTES_MAX
            + " bytes; large data goes through the files routes");
  }

  /** The body as it comes; its size is not limited here. */
  public InputStream bodyStream() {
    return request.content().hasEntity()
        ? ClientStreams.input(request.content().inputStream(), transfers, cut)
        : InputStream.nullInputStream();
  }

  /** The connection is closed after the answer. */
  public void closeConnection() {
    response.header(HeaderNames.CONNECTION, "close");
  }

  /** Sets a header of the answer. */
  public void header(HeaderName name, String value) {
    response.header(name, value);
  }

  /** Answers with a JSON message. */
  public void json(int answerStatus, Object message) {
    bytes(answerStatus, "application/json", Json.write(message));
  }

  /**
   * Answers with a JSON message that may be large: then it is not encoded as a whole first.
   *
   * @param about how many characters are in it
   */
  public void json(int answerStatus, Object message, int about) {
    if (about < LARGE_CHARS) {
      json(answerStatus, message);
      return;
    }
    OutputStream out = stream(answerStatus, "application/json");
    try {
      Json.write(message, out);
      // Only when all is well: closing it says that the answer is whole.
      out.close();
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
  }

  /** Answers with an empty body. */
  public void empty(int answerStatus) {
    begin(answerStatus);
    send(new byte[0]);
  }

  /** Answers with an empty body, and a reason in the words of whoever is answered for. */
  public void empty(int answerStatus, String reason) {
    begin(answerStatus);
    response.status(Status.create(answerStatus, reason));
    send(new byte[0]);
  }

  /** Adds a header to the answer, besides others of its name. */
  public void addHeader(String name, String value) {
    response.headers().add(HeaderValues.create(HeaderNames.create(name), value));
  }

  /**
   * Answers with bytes as they come, with no headers but those that were set. The head is on its
   * way when this returns.
   */
  public OutputStream raw(int answerStatus, String reason) {
    begin(answerStatus);
    response.status(Status.create(answerStatus, reason));
    OutputStream out = response.outputStream();
    try {
      transfers.run(0, cut, () -> HeadFlush.of(response));
    } catch (IOException
        | UncheckedIOException
        | CloseConnectionException
        | SocketWriterException e) {
      throw new ClientGoneException(e);
    }
    return ClientStreams.output(out, transfers, cut);
  }

  public void bytes(int answerStatus, String contentType, byte[] body) {
    begin(answerStatus);
    response.header(HeaderNames.CONTENT_TYPE, contentType);
    send(body);
  }

  private void send(byte[] body) {
    try {
      transfers.run(body.length, () -> response.send(body));
    } catch (IOException
        | UncheckedIOException
        | CloseConnectionException
        | SocketWriterException e) {
      throw new ClientGoneException(e);
    }
  }

  /** Answers with lines of JSON, each on its way as soon as it is written. */
  public NdjsonStream ndjson(int answerStatus) {
    return new NdjsonStream(stream(answerStatus, "application/x-ndjson"));
  }

  /** Answers with bytes as they come. Whoever opened the stream closes it when all is well. */
  public OutputStream stream(int answerStatus, String contentType) {
    begin(answerStatus);
    response.header(HeaderNames.CONTENT_TYPE, contentType);
    response.header(HeaderNames.CACHE_CONTROL, "no-store");
    return ClientStreams.output(response.outputStream(), transfers, cut);
  }

  private void begin(int answerStatus) {
    if (started) {
      throw new IllegalStateException("request " + requestId + " is answered twice");
    }
    started = true;
    status = answerStatus;
    response.status(Status.create(answerStatus));
  }

  private static String shortened(@Nullable String text) {
    String known = text == null ? "" : text;
    return known.length() <= 100 ? known : known.substring(0, 100) + "…";
  }
}
