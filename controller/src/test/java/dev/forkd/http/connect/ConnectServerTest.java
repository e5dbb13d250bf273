package dev.forkd.http.connect;

import static dev.forkd.http.connect.Wire.envelope;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.http.Cut;
import dev.forkd.http.Exchange;
import dev.forkd.http.Head;
import dev.forkd.http.HttpServer;
import dev.forkd.http.RawHttp;
import dev.forkd.http.RawHttp.Answer;
import dev.forkd.http.Router;
import dev.forkd.http.ServerConfig;
import dev.forkd.http.Surface;
import dev.forkd.http.TestDaemon;
import dev.forkd.metrics.Meters;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The protocol, byte by byte, on a real socket. */
class ConnectServerTest {
  private static final String UNARY = "Content-Type: application/json";
  private static final String STREAM = "Content-Type: application/connect+json";

  @TempDir Path folder;
  private final CountDownLatch release = new CountDownLatch(1);
  private final CompletableFuture<Void> handlerEnd = new CompletableFuture<>();
  private final AtomicInteger entered = new AtomicInteger();
  private final AtomicReference<Exchange> served = new AtomicReference<>();
  private final Meters meters = new Meters("0.1.0");
  private HttpServer server;
  private RawHttp client;

  record Ask(String text, int count, Optional<String> bytes) {
    Ask {
      text = text == null ? "" : text;
      bytes = bytes == null ? Optional.empty() : bytes;
    }
  }

  record Reply(String text) {}

  private final class TestSurface implements Surface {
    private final ConnectServer<String> connect =
        new ConnectServer<>(
            List.of(
                new Service<>(
                    "test.Echo",
                    List.of(
                        new Method.Unary<>("Say", Ask.class, ConnectServerTest.this::say),
                        new Method.Listing<>(
                            "List", Ask.class, "replies", ConnectServerTest.this::list),
                        new Method.ServerStream<>(
                            "Count", Ask.class, ConnectServerTest.this::count),
                        new Method.NotOffered<>("Pour")))),
            2);

    @Override
    public boolean takes(Head head) {
      return head.rawPath().startsWith("/test.");
    }

    @Override
    public String serve(Exchange exchange) {
      served.set(exchange);
      return connect.serve(exchange, "context");
    }

    @Override
    public void close() {}
  }

  private Object say(String context, Call call, Ask ask) {
    entered.incrementAndGet();
    switch (ask.text()) {
      case "wait" -> {
        try {
          release.await();
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
        }
      }
      case "until cut" -> {
        CompletableFuture<Void> cut = new CompletableFuture<>();
        try (Cut.Standing _ = call.cut().on(() -> cut.complete(null))) {
          cut.join();
        }
        handlerEnd.complete(null);
        call.cut().check();
      }
      case "defect" -> throw new IllegalStateException("secret innards");
      case "error" -> throw new OutOfMemoryError("secret innards");
      case "forkd" -> throw new ForkdException(ErrorCode.CANCELLED, "withdrawn");
      default -> {
        if (ask.text().startsWith("fail ")) {
          throw new ConnectException(ConnectCode.valueOf(ask.text().substring(5)), "as asked");
        }
      }
    }
    return new Reply(context + ":" + ask.text() + ":" + ask.count());
  }

  private void list(String context, Call call, Ask ask, Consumer<Object> replies) {
    for (int i = 1; i <= ask.count(); i++) {
      replies.accept(new Reply(Integer.toString(i)));
    }
    switch (ask.text()) {
      case "fail" -> throw new ConnectException(ConnectCode.ABORTED, "as asked");
      case "cut" -> {
        served.get().cut().cut();
        replies.accept(new Reply("late"));
      }
      case "slow" -> {
        try {
          Thread.sleep(300);
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
        }
        replies.accept(new Reply("late"));
      }
      default -> {}
    }
  }

  private void count(String context, Call call, Ask ask, MessageStream answers) {
    entered.incrementAndGet();
    try {
      for (int i = 1; i <= ask.count(); i++) {
        answers.send(new Reply(Integer.toString(i)));
      }
      switch (ask.text()) {
        case "wait" ->
            answers.until(
                new CompletableFuture<>(), Duration.ofMillis(50), new Reply("still here"));
        case "quiet" -> answers.until(new CompletableFuture<>(), Duration.ofHours(1), "");
        case "fail" -> throw new ConnectException(ConnectCode.ABORTED, "as asked");
        case "defect" -> throw new IllegalStateException("secret innards");
        default -> {}
      }
    } catch (RuntimeException e) {
      handlerEnd.completeExceptionally(e);
      throw e;
    }
  }

  @BeforeEach
  void start() {
    server =
        HttpServer.start(
            new ServerConfig(
                new InetSocketAddress(InetAddress.getLoopbackAddress(), 0),
                "token",
                folder.resolve("audit.log"),
                Optional.empty()),
            new Router(List.of()),
            List.of(new TestSurface()),
            meters,
            InstantSource.system(),
            System::nanoTime);
    client = new RawHttp(server.port());
  }

  @AfterEach
  void stop() {
    release.countDown();
    client.close();
    server.close();
    meters.close();
  }

  private Answer say(String json, String... headers) throws IOException {
    String[] all = java.util.Arrays.copyOf(headers, headers.length + 1);
    all[headers.length] = UNARY;
    return client.request("POST /test.Echo/Say HTTP/1.1", json, all).answer();
  }

  private RawHttp count(byte[] body, String... headers) {
    String[] all = java.util.Arrays.copyOf(headers, headers.length + 1);
    all[headers.length] = STREAM;
    return client.request("POST /test.Echo/Count HTTP/1.1", body, all);
  }

  private List<String> counted(byte[] body, String... headers) throws IOException {
    Answer answer = count(body, headers).answer();
    assertThat(answer.status()).isEqualTo(200);
    assertThat(answer.header("content-type")).isEqualTo("application/connect+json");
    return Wire.all(answer.body());
  }

  /** A unary call is a POST with a message, and another on the same connection follows it. */
  @Test
  void unary() throws IOException {
    Answer answer = say("{\"text\":\"hi\",\"count\":\"7\",\"unknown\":[{}]}");
    assertThat(answer.status()).isEqualTo(200);
    assertThat(answer.header("content-type")).isEqualTo("application/json");
    assertThat(answer.header("content-encoding")).isEmpty();
    assertThat(answer.text()).isEqualTo("{\"text\":\"context:hi:7\"}");
    assertThat(say("{\"text\":null}", "Connect-Protocol-Version: 1").text())
        .isEqualTo("{\"text\":\"context::0\"}");
    assertThat(
            client
                .request(
                    "POST /test.Echo/Say HTTP/1.1",
                    "{}",
                    "Content-Type: application/json; charset=utf-8")
                .answer()
                .status())
        .isEqualTo(200);
  }

  private RawHttp list(String json, String... headers) {
    String[] all = java.util.Arrays.copyOf(headers, headers.length + 1);
    all[headers.length] = UNARY;
    return client.request("POST /test.Echo/List HTTP/1.1", json, all);
  }

  /** A list is a message like others, however long it is, and others follow it. */
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 5_000, 100_000})
  void list(int count) throws IOException {
    Answer answer = list("{\"count\":" + count + "}").answer();
    assertThat(answer.status()).isEqualTo(200);
    assertThat(answer.header("content-type")).isEqualTo("application/json");
    assertThat(answer.text())
        .isEqualTo(
            IntStream.rangeClosed(1, count)
                .mapToObj(i -> "{\"text\":\"" + i + "\"}")
                .collect(Collectors.joining(",", "{\"replies\":[", "]}")));
    assertThat(say("{}").status()).isEqualTo(200);
  }

  /** What fails is told while it can be, and breaks the answer off later; so does a cut. */
  @Test
  void listsThatFail() throws IOException {
    Answer early = list("{\"text\":\"fail\",\"count\":100}").answer();
    assertThat(early.status()).isEqualTo(409);
    assertThat(early.text()).isEqualTo("{\"code\":\"aborted\",\"message\":\"as asked\"}");
    Answer slow = list("{\"text\":\"slow\",\"count\":100}", "Connect-Timeout-Ms: 100").answer();
    assertThat(slow.status()).isEqualTo(504);
    assertThat(list("{\"count\":[]}").answer().status()).isEqualTo(400);
    for (String text : List.of("fail", "cut")) {
      assertThatThrownBy(() -> list("{\"text\":\"" + text + "\",\"count\":100000}").answer())
          .as(text)
          .isInstanceOf(EOFException.class);
      client.close();
      client = new RawHttp(server.port());
    }
  }

  /** Each error code has its HTTP status, and its name as a text. */
  @ParameterizedTest
  @CsvSource({
    "CANCELED, 499, canceled",
    "UNKNOWN, 500, unknown",
    "INVALID_ARGUMENT, 400, invalid_argument",
    "DEADLINE_EXCEEDED, 504, deadline_exceeded",
    "NOT_FOUND, 404, not_found",
    "ALREADY_EXISTS, 409, already_exists",
    "PERMISSION_DENIED, 403, permission_denied",
    "RESOURCE_EXHAUSTED, 429, resource_exhausted",
    "FAILED_PRECONDITION, 400, failed_precondition",
    "ABORTED, 409, aborted",
    "OUT_OF_RANGE, 400, out_of_range",
    "UNIMPLEMENTED, 501, unimplemented",
    "INTERNAL, 500, internal",
    "UNAVAILABLE, 503, unavailable",
    "DATA_LOSS, 500, data_loss",
    "UNAUTHENTICATED, 401, unauthenticated"
  })
  void unaryErrors(String code, int status, String name) throws IOException {
    Answer answer = say("{\"text\":\"fail " + code + "\"}");
    assertThat(answer.status()).isEqualTo(status);
    assertThat(answer.header("content-type")).isEqualTo("application/json");
    assertThat(answer.text()).isEqualTo("{\"code\":\"" + name + "\",\"message\":\"as asked\"}");
  }

  /** Every code of the engine has one on this wire. */
  @ParameterizedTest
  @EnumSource(ErrorCode.class)
  void codesOfTheEngineAreKnown(ErrorCode code) {
    assertThat(ConnectCode.of(code).wireName())
        .isEqualTo(code == ErrorCode.CANCELLED ? "canceled" : code.wireName());
  }

  /** A failure of the engine keeps its code; a defect shows nothing of the innards. */
  @Test
  void failuresOfHandlers() throws IOException {
    assertThat(say("{\"text\":\"forkd\"}").text()).contains("\"canceled\"", "withdrawn");
    for (String kind : List.of("defect", "error")) {
      Answer defect = say("{\"text\":\"" + kind + "\"}");
      assertThat(defect.status()).as(kind).isEqualTo(500);
      assertThat(defect.text()).contains("\"internal\"").doesNotContain("secret");
    }
  }

  /** What is no message is refused as an argument. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      value = {
        "~~",
        "{",
        "[]",
        "null",
        "7",
        "{\"count\":1.5}",
        "{\"text\":7}",
        "{} {}",
        "{\"count\":{}}"
      })
  void unaryNonsense(String body) throws IOException {
    Answer answer = say(body == null ? "" : body);
    assertThat(answer.status()).isEqualTo(400);
    assertThat(answer.text()).contains("\"invalid_argument\"");
    assertThat(say("{}").status()).isEqualTo(200);
  }

  /** A message beyond the limit is refused, whether or not its length was announced. */
  @Test
  void unaryTooLong() throws IOException {
    byte[] body = new byte[ConnectServer.MESSAGE_BYTES_MAX + 1];
    Answer answer = client.request("POST /test.Echo/Say HTTP/1.1", body, UNARY).answer();
    assertThat(answer.status()).isEqualTo(400);
    assertThat(answer.text()).contains("\"invalid_argument\"", "4194304");
  }

  /** So many small things that they would take far more of the heap than they are are refused. */
  @Test
  void unaryTooManyParts() throws IOException {
    Answer answer = say("{\"x\":[" + "{},".repeat(ConnectMessages.TOKENS_MAX) + "{}]}");
    assertThat(answer.status()).isEqualTo(400);
    assertThat(answer.text()).contains("\"invalid_argument\"");
    assertThat(say("{\"x\":[" + "{},".repeat(10_000) + "{}]}").status()).isEqualTo(200);
  }

  /** A handler for which nobody waits any more is told so. */
  @Test
  void unaryDeadlineCutsTheWork() throws Exception {
    assertThat(say("{\"text\":\"until cut\"}", "Connect-Timeout-Ms: 100").status()).isEqualTo(504);
    handlerEnd.get(5, TimeUnit.SECONDS);
  }

  /** So is one whose client goes away. */
  @Test
  void goneClientsCutTheWork() throws Exception {
    client.request("POST /test.Echo/Say HTTP/1.1", "{\"text\":\"until cut\"}", UNARY);
    await().until(() -> entered.get() == 1);
    client.close();
    handlerEnd.get(5, TimeUnit.SECONDS);
  }

  /** The headers that change the meaning of a call are checked. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "Connect-Protocol-Version: 2|400|invalid_argument",
        "Connect-Timeout-Ms: soon|400|invalid_argument",
        "Connect-Timeout-Ms: -1|400|invalid_argument",
        "Connect-Timeout-Ms: 12345678901|400|invalid_argument",
        "Content-Encoding: gzip|501|unimplemented",
        "Content-Encoding: identity|200|text",
        "Connect-Timeout-Ms: 9999999999|200|text"
      })
  void unaryHeaders(String header, int status, String told) throws IOException {
    Answer answer = say("{}", header);
    assertThat(answer.status()).isEqualTo(status);
    assertThat(answer.text()).contains("\"" + told + "\"");
    assertThat(say("{}").status()).isEqualTo(200);
  }

  /** Other methods are 405, other content types 415, each saying what is taken. */
  @Test
  void whatIsNoCall() throws IOException {
    Answer get = client.head("GET /test.Echo/Say HTTP/1.1", "Host: localhost").answer();
    assertThat(get.status()).isEqualTo(405);
    assertThat(get.header("allow")).isEqualTo("POST");
    for (String type : List.of("application/proto", "text/plain", "application/grpc-web+json")) {
      Answer answer =
          client.request("POST /test.Echo/Say HTTP/1.1", "{}", "Content-Type: " + type).answer();
      assertThat(answer.status()).as(type).isEqualTo(415);
      assertThat(answer.header("accept-post")).contains("application/json");
    }
    assertThat(client.request("POST /test.Echo/Say HTTP/1.1", "{}").answer().status())
        .isEqualTo(415);
    assertThat(client.request("POST /test.Echo/Say HTTP/1.1", "{}", STREAM).answer().status())
        .isEqualTo(415);
    assertThat(client.request("POST /test.Echo/Count HTTP/1.1", "{}", UNARY).answer().status())
        .isEqualTo(415);
  }

  /** What is not there, or not offered, is unimplemented, told in the form the client reads. */
  @ParameterizedTest
  @CsvSource({"/test.Echo/Nothing", "/test.Nobody/Say", "/test.Echo/Pour", "/test.Echo/Say/"})
  void unknown(String path) throws IOException {
    Answer unary = client.request("POST " + path + " HTTP/1.1", "{}", UNARY).answer();
    assertThat(unary.status()).isEqualTo(501);
    assertThat(unary.header("content-type")).isEqualTo("application/json");
    assertThat(unary.text()).startsWith("{\"code\":\"unimplemented\"");
    Answer stream =
        client.request("POST " + path + " HTTP/1.1", envelope(0, "{}"), STREAM).answer();
    assertThat(stream.status()).isEqualTo(200);
    assertThat(Wire.all(stream.body()))
        .singleElement()
        .asString()
        .startsWith("2 {\"error\":{\"code\":\"unimplemented\"");
  }

  /** All messages come in order; an empty stream has an end all the same. */
  @Test
  void streamsEnd() throws IOException {
    assertThat(counted(envelope(0, "{\"count\":3}")))
        .containsExactly("0 {\"text\":\"1\"}", "0 {\"text\":\"2\"}", "0 {\"text\":\"3\"}", "2 {}");
    assertThat(counted(envelope(0, "{}"))).containsExactly("2 {}");
  }

  /** A message leaves at once, not when the stream ends. */
  @Test
  void messagesAreFlushed() throws IOException {
    count(envelope(0, "{\"count\":1,\"text\":\"quiet\"}"));
    client.answerHead();
    assertThat(Wire.next(client)).isEqualTo("0 {\"text\":\"1\"}");
  }

  /** An error comes after what was sent before it, in a good answer. */
  @Test
  void streamErrors() throws IOException {
    assertThat(counted(envelope(0, "{\"count\":1,\"text\":\"fail\"}")))
        .containsExactly(
            "0 {\"text\":\"1\"}", "2 {\"error\":{\"code\":\"aborted\",\"message\":\"as asked\"}}");
    assertThat(counted(envelope(0, "{\"text\":\"defect\"}")))
        .singleElement()
        .asString()
        .startsWith("2 {\"error\":{\"code\":\"internal\"")
        .doesNotContain("secret");
  }

  /** What is no envelope, or not one, is told in the end of the stream. */
  @Test
  void streamNonsense() throws IOException {
    record Case(byte[] body, String code, String[] headers) {
      Case(byte[] body, String code) {
        this(body, code, new String[0]);
      }
    }
    byte[] two = new byte[14];
    System.arraycopy(envelope(0, "{}"), 0, two, 0, 7);
    System.arraycopy(envelope(0, "{}"), 0, two, 7, 7);
    for (Case wrong :
        List.of(
            new Case(new byte[0], "unimplemented"),
            new Case(two, "unimplemented"),
            new Case(new byte[] {0, 0, 0}, "invalid_argument"),
            new Case(new byte[] {0, 0, 0, 0, 9, '{'}, "invalid_argument"),
            new Case(new byte[] {0, 0, 64, 0, 1}, "invalid_argument"),
            new Case(new byte[] {8, 0, 0, 0, 0}, "invalid_argument"),
            new Case(envelope(2, "{}"), "invalid_argument"),
            new Case(envelope(0, ""), "invalid_argument"),
            new Case(envelope(0, "{"), "invalid_argument"),
            new Case(envelope(1, "{}"), "internal"),
            new Case(
                envelope(1, "{}"),
                "unimplemented",
                new String[] {"Connect-Content-Encoding: gzip"}),
            new Case(
                envelope(0, "{}"), "invalid_argument", new String[] {"Connect-Timeout-Ms: x"}))) {
      try (RawHttp own = new RawHttp(server.port())) {
        String[] headers = java.util.Arrays.copyOf(wrong.headers(), wrong.headers().length + 1);
        headers[wrong.headers().length] = STREAM;
        Answer answer =
            own.request("POST /test.Echo/Count HTTP/1.1", wrong.body(), headers).answer();
        assertThat(answer.status()).isEqualTo(200);
        assertThat(Wire.all(answer.body()))
            .as("%s", java.util.HexFormat.of().formatHex(wrong.body()))
            .singleElement()
            .asString()
            .startsWith("2 {\"error\":{\"code\":\"" + wrong.code() + "\"");
      }
    }
  }

  /** A body in chunks that cut an envelope anywhere is put together. */
  @Test
  void chunkedRequest() throws IOException {
    client.head(
        "POST /test.Echo/Count HTTP/1.1", "Host: localhost", STREAM, "Transfer-Encoding: chunked");
    for (byte b : envelope(0, "{\"count\":1}")) {
      client.send("1\r\n").send(new byte[] {b}).send("\r\n");
    }
    client.send("0\r\n\r\n");
    assertThat(Wire.all(client.answer().body())).containsExactly("0 {\"text\":\"1\"}", "2 {}");
  }

  /** A stream that has nothing to say gives signs of life until the client's time is over. */
  @Test
  void keepAliveAndDeadline() throws IOException {
    List<String> all = counted(envelope(0, "{\"text\":\"wait\"}"), "Connect-Timeout-Ms: 400");
    assertThat(all.size()).isLessThanOrEqualTo(9);
    assertThat(all.subList(0, all.size() - 1)).allMatch("0 {\"text\":\"still here\"}"::equals);
    assertThat(all.getLast()).startsWith("2 {\"error\":{\"code\":\"deadline_exceeded\"");
    count(envelope(0, "{\"text\":\"wait\"}"), "Connect-Timeout-Ms: 60000");
    client.answerHead();
    for (int i = 0; i < 3; i++) {
      assertThat(Wire.next(client)).isEqualTo("0 {\"text\":\"still here\"}");
    }
  }

  /** A unary call whose time is over is answered, though its handler goes on. */
  @Test
  void unaryDeadline() throws IOException {
    Answer answer = say("{\"text\":\"wait\"}", "Connect-Timeout-Ms: 100");
    assertThat(answer.status()).isEqualTo(504);
    assertThat(answer.text()).contains("\"deadline_exceeded\"");
    assertThat(say("{}").status()).isEqualTo(200);
  }

  /** Handlers that were left alone count until they end; a call too many is refused, not queued. */
  @Test
  void unaryCallsAreBounded() throws IOException {
    say("{\"text\":\"wait\"}", "Connect-Timeout-Ms: 1");
    say("{\"text\":\"wait\"}", "Connect-Timeout-Ms: 1");
    assertThat(say("{}").text()).contains("\"resource_exhausted\"");
    release.countDown();
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() -> assertThat(say("{}").status()).isEqualTo(200));
  }

  /**
   * A client that closes, or only its own side, ends the handler at once, whatever it waits for.
   */
  @ParameterizedTest
  @CsvSource({"true", "false"})
  void goneClientsEndTheHandler(boolean half) throws Exception {
    count(envelope(0, "{\"count\":1,\"text\":\"quiet\"}"));
    client.answerHead();
    Wire.next(client);
    if (half) {
      client.socket().shutdownOutput();
    } else {
      client.close();
    }
    assertThatThrownBy(() -> handlerEnd.get(40, TimeUnit.SECONDS))
        .hasCauseInstanceOf(dev.forkd.http.ClientGoneException.class);
  }

  /** A unary call that nobody waits for any more gives its place in the server back. */
  @Test
  void goneClientsEndUnaryCalls() throws IOException {
    client.request("POST /test.Echo/Say HTTP/1.1", "{\"text\":\"wait\"}", UNARY);
    await().atMost(TestDaemon.PATIENCE).until(() -> entered.get() == 1);
    client.close();
    await().atMost(TestDaemon.PATIENCE).until(() -> server.activity().closeIfIdle(Duration.ZERO));
  }

  /** What is cut ends without an end: the client must not take it for whole. */
  @Test
  void cutStreamsHaveNoEnd() throws IOException {
    count(envelope(0, "{\"count\":1,\"text\":\"quiet\"}"));
    client.answerHead();
    Wire.next(client);
    served.get().cut().cut();
    assertThatThrownBy(() -> client.chunk()).isInstanceOf(EOFException.class);
  }

  /** A request sent while a stream is answered is kept for later, and served then. */
  @Test
  void whatComesMeanwhileIsKept() throws IOException {
    count(envelope(0, "{\"count\":1,\"text\":\"wait\"}"), "Connect-Timeout-Ms: 300");
    client.answerHead();
    Wire.next(client);
    client.request("POST /test.Echo/Say HTTP/1.1", "{\"text\":\"later\"}", UNARY);
    byte[] chunk = client.chunk();
    while (chunk.length > 0) {
      chunk = client.chunk();
    }
    assertThat(client.answer().text()).isEqualTo("{\"text\":\"context:later:0\"}");
  }
}
