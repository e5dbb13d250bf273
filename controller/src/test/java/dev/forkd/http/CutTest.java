package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ApiKey;
import dev.forkd.http.connect.Wire;
import dev.forkd.testkit.FakeEngine;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Whatever a client has open in a sandbox, and however still it keeps, ends with the sandbox: it
 * must neither hold up the one who pauses it nor last itself.
 */
@Timeout(120)
class CutTest {
  private static final JsonMapper JSON = JsonMapper.shared();

  /** Of a sandbox that ends by itself, once all are open. */
  private static final int LIFE_SECONDS = 1;

  /** What a stalled client costs the one who pauses. The clients' own patience is a minute. */
  private static final Duration SOON = Duration.ofSeconds(2);

  /** A machine that stalls for so long is not the clients' doing: it does not do so each time. */
  private static final int ATTEMPTS = 3;

  private static final int MANY_BYTES = 32 << 20;

  @TempDir private Path folder;
  private final List<AutoCloseable> open = new ArrayList<>();
  private FakeEngine engine;
  private TestDaemon daemon;
  private JsonNode sandbox;

  enum End {
    PAUSE,
    KILL,
    EXPIRY,
    EXPIRY_PAUSES
  }

  @BeforeEach
  void start() {
    engine = new FakeEngine().withTemplate("base");
    daemon = new TestDaemon(engine, folder);
  }

  @AfterEach
  void stop() throws Exception {
    for (AutoCloseable one : open) {
      one.close();
    }
    daemon.close();
    engine.close();
  }

  private TestDaemon.Answer control(String method, String path, String body) {
    return daemon.send(
        daemon
            .open(path)
            .header("X-API-KEY", ApiKey.of(TestDaemon.TOKEN))
            .header("Content-Type", "application/json")
            .method(method, BodyPublishers.ofString(body)));
  }

  private String id() {
    return sandbox.path("sandboxID").asString();
  }

  private RawHttp client(String first, int port, String... more) {
    RawHttp client = new RawHttp(daemon.port());
    open.add(client);
    List<String> lines =
        new ArrayList<>(
            List.of(
                first,
                "Host: localhost",
                "Connect-Protocol-Version: 1",
                "E2b-Sandbox-Id: " + id(),
                "E2b-Sandbox-Port: " + port,
                "X-Access-Token: " + sandbox.path("envdAccessToken").asString()));
    lines.addAll(List.of(more));
    return client.head(lines.toArray(String[]::new));
  }

  private RawHttp stream(String procedure, String message) {
    byte[] body = Wire.envelope(0, message);
    return client(
            "POST /" + procedure + " HTTP/1.1",
            49983,
            "Content-Type: application/connect+json",
            "Content-Length: " + body.length)
        .send(body);
  }

  /** A command whose output nobody reads. */
  private RawHttp stalledCommand() throws IOException {
    RawHttp client = stream("process.Process/Start", "{\"process\":{\"cmd\":\"yes\"}}");
    client.answerHead();
    return client;
  }

  private RawHttp watch() throws IOException {
    RawHttp client = stream("filesystem.Filesystem/WatchDir", "{\"path\":\"/home\"}");
    client.answerHead();
    assertThat(Wire.next(client)).contains("start");
    return client;
  }

  /** An upload of which no more comes. */
  private RawHttp stalledUpload() {
    return client(
            "POST /files?path=up HTTP/1.1",
            49983,
            "Content-Type: application/octet-stream",
            "Content-Length: 1000000")
        .send("the first bytes");
  }

  /** A call with many messages that never says that it has no more. */
  private RawHttp openInput() {
    RawHttp client =
        client(
            "POST /process.Process/StreamInput HTTP/1.1",
            49983,
            "Content-Type: application/connect+json",
            "Transfer-Encoding: chunked");
    byte[] one = Wire.envelope(0, "{\"keepalive\":{}}");
    return client.send(Integer.toHexString(one.length) + "\r\n").send(one).send("\r\n");
  }

  /** A file larger than all buffers on the way, which nobody reads. */
  private RawHttp unreadDownload() throws IOException {
    RawHttp client = client("GET /files?path=big HTTP/1.1", 49983);
    assertThat(client.answerHead().status()).isEqualTo(200);
    return client;
  }

  /** More input than a pipe holds, for a process that reads none. */
  private RawHttp unreadInput() throws IOException {
    RawHttp process =
        stream(
            "process.Process/Start",
            "{\"process\":{\"cmd\":\"sleep\",\"args\":[\"300\"]},\"tag\":\"deaf\",\"stdin\":true}");
    process.answerHead();
    assertThat(Wire.next(process)).contains("start");
    byte[] body =
        ("{\"process\":{\"tag\":\"deaf\"},\"input\":{\"stdin\":\""
                + "QUJD".repeat(100_000)
                + "\"}}")
            .getBytes(StandardCharsets.UTF_8);
    return client(
            "POST /process.Process/SendInput HTTP/1.1",
            49983,
            "Content-Type: application/json",
            "Content-Length: " + body.length)
        .send(body);
  }

  /** A server at a port that answers as it is told and then sends without end. */
  private int server(String head) throws IOException {
    ServerSocket listening = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    open.add(listening);
    dev.forkd.api.Threads.platform(
        "test-server",
        () -> {
          try (Socket socket = listening.accept()) {
            InputStream in = socket.getInputStream();
            int ends = 0;
            while (ends < 2) {
              int b = in.read();
              ends = b == '\n' ? ends + 1 : b == '\r' ? ends : 0;
            }
            socket.getOutputStream().write(head.getBytes(StandardCharsets.US_ASCII));
            byte[] piece = new byte[65536];
            while (true) {
              socket.getOutputStream().write(piece);
            }
          } catch (IOException e) {
            return; // It was cut.
          }
        });
    return listening.getLocalPort();
  }

  /** A WebSocket that nobody reads. */
  private RawHttp stalledWebSocket() throws IOException {
    int port =
        server(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    RawHttp client = client("GET /ws HTTP/1.1", port, "Upgrade: websocket", "Connection: upgrade");
    assertThat(client.answerHead().status()).isEqualTo(101);
    return client;
  }

  /** An answer of a guest's server that nobody reads. */
  private RawHttp unreadAnswer() throws IOException {
    int port = server("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    RawHttp client = client("GET / HTTP/1.1", port);
    assertThat(client.answerHead().status()).isEqualTo(200);
    return client;
  }

  /** Nothing of what is open outlasts the sandbox, and none of it holds up its end. */
  @ParameterizedTest
  @EnumSource
  void all(End how) throws Exception {
    Duration least = cost(how);
    for (int i = 1; i < ATTEMPTS && least.compareTo(SOON) >= 0; i++) {
      Duration again = cost(how);
      least = again.compareTo(least) < 0 ? again : least;
    }
    assertThat(least).isLessThan(SOON);
  }

  /** How long it takes until a sandbox in which all are open has ended, and they with it. */
  private Duration cost(End how) throws Exception {
    String more = how == End.EXPIRY_PAUSES ? ",\"autoPause\":true" : "";
    sandbox =
        JSON.readTree(
            control(
                    "POST",
                    "/v2/sandboxes",
                    "{\"templateID\":\"base\",\"timeout\":300" + more + "}")
                .body());
    assertThat(
            daemon
                .send(
                    daemon
                        .open("/files?path=big")
                        .header("E2b-Sandbox-Id", id())
                        .header("E2b-Sandbox-Port", "49983")
                        .header("X-Access-Token", sandbox.path("envdAccessToken").asString())
                        .header("Content-Type", "application/octet-stream")
                        .POST(BodyPublishers.ofByteArray(new byte[MANY_BYTES])))
                .status())
        .isEqualTo(200);
    List<RawHttp> clients =
        List.of(
            stalledCommand(),
            watch(),
            stalledUpload(),
            openInput(),
            unreadDownload(),
            unreadInput(),
            stalledWebSocket(),
            unreadAnswer());
    // All but the open call, whose client has nothing to say, are inside.
    await().atMost(TestDaemon.PATIENCE).until(() -> engine.inside() >= clients.size());
    long beginNanos = System.nanoTime();
    switch (how) {
      case PAUSE ->
          assertThat(control("POST", "/sandboxes/" + id() + "/pause", "{}").status())
              .isEqualTo(204);
      case KILL -> assertThat(control("DELETE", "/sandboxes/" + id(), "").status()).isEqualTo(204);
      case EXPIRY -> {
        beginNanos = expires();
        await()
            .atMost(TestDaemon.PATIENCE)
            .until(() -> control("GET", "/sandboxes/" + id(), "").status() == 404);
      }
      case EXPIRY_PAUSES -> {
        beginNanos = expires();
        await()
            .atMost(TestDaemon.PATIENCE)
            .until(() -> control("GET", "/sandboxes/" + id(), "").body().contains("\"paused\""));
      }
    }
    for (RawHttp client : clients) {
      client.socket().setSoTimeout((int) TestDaemon.PATIENCE.toMillis());
      assertThat(ends(client)).as("client " + clients.indexOf(client)).isTrue();
    }
    await()
        .atMost(TestDaemon.PATIENCE)
        .pollInterval(Duration.ofMillis(5))
        .until(() -> engine.inside() == 0);
    return Duration.ofNanos(System.nanoTime() - beginNanos);
  }

  /** Lets it end soon; says when. */
  private long expires() {
    assertThat(
            control("POST", "/sandboxes/" + id() + "/timeout", "{\"timeout\":" + LIFE_SECONDS + "}")
                .status())
        .isEqualTo(204);
    return System.nanoTime() + Duration.ofSeconds(LIFE_SECONDS).toNanos();
  }

  /** Whether the connection is closed, or its request answered as one that has no sandbox. */
  private static boolean ends(RawHttp client) {
    byte[] buffer = new byte[1 << 16];
    try {
      for (int got = client.input().read(buffer); got >= 0; got = client.input().read(buffer)) {
        if (new String(buffer, 0, got, StandardCharsets.US_ASCII).startsWith("HTTP/1.1 502")) {
          return true;
        }
      }
      return true;
    } catch (java.net.SocketTimeoutException e) {
      return false;
    } catch (IOException e) {
      return true; // Reset, as it was not read.
    }
  }
}
