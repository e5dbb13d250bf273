package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ApiKey;
import dev.forkd.api.Threads;
import dev.forkd.engine.GuestFiles;
import dev.forkd.http.connect.Wire;
import dev.forkd.testkit.FakeEngine;
import java.io.IOException;
import java.io.InputStream;
import java.io.SequenceInputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The edges of a sandbox's files, processes and ports, as clients of E2B's meet them. */
@Timeout(120)
class DataPlaneTest {
  private static final JsonMapper JSON = JsonMapper.shared();

  /** What may be on its way to a client that reads nothing: the kernel's buffers, and ours. */
  private static final long ON_THE_WAY_MAX = 24L << 20;

  @TempDir private Path folder;
  private final List<AutoCloseable> open = new ArrayList<>();
  private TestDaemon daemon;
  private JsonNode sandbox;

  @BeforeEach
  void start() {
    daemon = new TestDaemon(new FakeEngine().withTemplate("base"), folder.resolve("daemon"));
    sandbox = create("");
  }

  @AfterEach
  void stop() throws Exception {
    for (AutoCloseable one : open) {
      one.close();
    }
    daemon.close();
    daemon.engine.close();
  }

  private JsonNode create(String more) {
    return JSON.readTree(
        control("POST", "/v2/sandboxes", "{\"templateID\":\"base\"" + more + "}").body());
  }

  private TestDaemon.Answer control(String method, String path, String body) {
    return daemon.send(
        daemon
            .open(path)
            .header("X-API-KEY", ApiKey.of(TestDaemon.TOKEN))
            .header("Content-Type", "application/json")
            .method(method, BodyPublishers.ofString(body)));
  }

  private HttpRequest.Builder data(String path) {
    return data(path, 49983);
  }

  private HttpRequest.Builder data(String path, int port) {
    return daemon
        .open(path)
        .header("E2b-Sandbox-Id", sandbox.path("sandboxID").asString())
        .header("E2b-Sandbox-Port", Integer.toString(port))
        .header("X-Access-Token", sandbox.path("envdAccessToken").asString());
  }

  private RawHttp raw(String first, int port, String... more) {
    RawHttp client = new RawHttp(daemon.port());
    open.add(client);
    List<String> lines =
        new ArrayList<>(
            List.of(
                first,
                "Host: localhost",
                "E2b-Sandbox-Id: " + sandbox.path("sandboxID").asString(),
                "E2b-Sandbox-Port: " + port,
                "X-Access-Token: " + sandbox.path("envdAccessToken").asString()));
    lines.addAll(List.of(more));
    return client.head(lines.toArray(String[]::new));
  }

  private RawHttp stream(String procedure, String message) {
    byte[] body = Wire.envelope(0, message);
    return raw(
            "POST /" + procedure + " HTTP/1.1",
            49983,
            "Content-Type: application/connect+json",
            "Content-Length: " + body.length)
        .send(body);
  }

  private TestDaemon.Answer unary(String procedure, String message) {
    return daemon.send(
        data("/" + procedure)
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString(message)));
  }

  private TestDaemon.Answer form(String... fileNames) {
    StringBuilder form = new StringBuilder();
    for (String name : fileNames) {
      form.append("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"")
          .append(name)
          .append("\"\r\nContent-Type: application/octet-stream\r\n\r\nx\r\n");
    }
    return daemon.send(
        data("/files")
            .header("Content-Type", "multipart/form-data; boundary=b")
            .POST(BodyPublishers.ofString(form + "--b--\r\n")));
  }

  /** The clients send a whole path as a file's name, and paths may be long. */
  @Test
  void longNames() {
    for (String path : List.of("/a/" + "x/".repeat(2000) + "f", "/ü/" + "鳥/".repeat(650) + "f")) {
      TestDaemon.Answer answer = form(path);
      assertThat(answer.status()).as(answer.body()).isEqualTo(200);
      assertThat(JSON.readTree(answer.body()).path(0).path("path").asString()).isEqualTo(path);
    }
    assertThat(form("/" + "x".repeat(5000)).status()).isEqualTo(400);
    assertThat(form("/" + "x".repeat(100_000)).status()).isEqualTo(400);
  }

  /** What the daemon keeps of a form is the paths, and of them not more than it can. */
  @Test
  void manyLongNames() {
    String folder = "/l/" + "x/".repeat(2000);
    List<String> names = new ArrayList<>();
    for (int i = 0; i < 300; i++) {
      names.add(folder + i);
    }
    TestDaemon.Answer few = form(names.subList(0, 100).toArray(String[]::new));
    assertThat(few.status()).as(few.body()).isEqualTo(200);
    assertThat(JSON.readTree(few.body()).size()).isEqualTo(100);
    TestDaemon.Answer all = form(names.toArray(String[]::new));
    assertThat(all.status()).isEqualTo(400);
    assertThat(all.body()).contains("1048576 characters");
  }

  /** Names of all that a name can be made of; what cannot is the client's fault. */
  @Test
  void strangeNames() {
    StringBuilder name = new StringBuilder("/n/");
    StringBuilder query = new StringBuilder("/n/");
    for (int c = 1; c < 128; c++) {
      if (c != '/') {
        name.append((char) c);
        query.append(String.format("%%%02x", c));
      }
    }
    TestDaemon.Answer up =
        daemon.send(
            data("/files?path=" + query)
                .header("Content-Type", "application/octet-stream")
                .POST(BodyPublishers.ofString("there")));
    assertThat(up.status()).as(up.body()).isEqualTo(200);
    assertThat(JSON.readTree(up.body()).path(0).path("path").asString()).isEqualTo(name.toString());
    assertThat(daemon.send(data("/files?path=" + query).GET()).body()).isEqualTo("there");
    JsonNode listed =
        JSON.readTree(unary("filesystem.Filesystem/ListDir", "{\"path\":\"/n\"}").body());
    assertThat(listed.path("entries").path(0).path("path").asString()).isEqualTo(name.toString());
    assertThat(form("/a\0b").status()).isEqualTo(400);
    assertThat(form("/ok", "/a\0b").status()).isEqualTo(400);
  }

  /** A folder with very many files is listed whole, by both interfaces. */
  @Test
  void largeFolder() {
    GuestFiles files = daemon.engine.files(daemon.engine.sandboxes().getFirst().id());
    for (int i = 0; i < 100_000; i++) {
      files.makeDirectory("/many/%06d".formatted(i));
    }
    files.makeDirectory("/many");
    JsonNode listed =
        JSON.readTree(unary("filesystem.Filesystem/ListDir", "{\"path\":\"/many\"}").body());
    assertThat(listed.path("entries")).hasSize(100_000);
    assertThat(listed.path("entries").path(99_999).path("name").asString()).isEqualTo("099999");
    String id = daemon.engine.sandboxes().getFirst().id().value();
    JsonNode plain =
        JSON.readTree(daemon.get("/v1/sandboxes/" + id + "/files/list?path=/many").body());
    assertThat(plain).hasSize(100_000);
    assertThat(plain.path(99_999).path("path").asString()).isEqualTo("/many/099999");
    assertThat(daemon.engine.inside()).isZero();
  }

  /** A full disk is told to the one who has sent far more than fits, after the last byte. */
  @Test
  void fullDisk() {
    long bytes = 200L << 20;
    for (String type : List.of("application/octet-stream", "multipart/form-data; boundary=b")) {
      byte[] head =
          type.startsWith("multipart")
              ? "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
                  .getBytes(StandardCharsets.US_ASCII)
              : new byte[0];
      TestDaemon.Answer answer =
          daemon.send(
              data("/files?path=/full/f")
                  .header("Content-Type", type)
                  .POST(
                      BodyPublishers.ofInputStream(() ->
                          new SequenceInputStream(
                              new java.io.ByteArrayInputStream(head), zeros(bytes)))));
      assertThat(answer.status()).as(answer.body()).isEqualTo(507);
      assertThat(JSON.readTree(answer.body()).path("message").asString())
          .contains("not enough space");
    }
  }

  private static InputStream zeros(long count) {
    return new InputStream() {
      private long left = count;

      @Override
      public int read() {
        return left-- > 0 ? 0 : -1;
      }

      @Override
      public int read(byte[] into, int from, int length) {
        int got = (int) Math.min(left, length);
        left -= got;
        return got == 0 ? -1 : got;
      }
    };
  }

  private int withMetadata(String... namesAndValues) {
    HttpRequest.Builder request =
        data("/files?path=m").header("Content-Type", "application/octet-stream");
    for (int i = 0; i < namesAndValues.length; i += 2) {
      request.header("X-Metadata-" + namesAndValues[i], namesAndValues[i + 1]);
    }
    return daemon.send(request.POST(BodyPublishers.ofString("x"))).status();
  }

  /** Metadata up to its bounds is taken, beyond them refused. */
  @Test
  void metadata() throws Exception {
    assertThat(withMetadata("n".repeat(246), "v")).isEqualTo(200);
    assertThat(withMetadata("n".repeat(247), "v")).isEqualTo(400);
    assertThat(withMetadata("k", "v".repeat(4095))).isEqualTo(200);
    assertThat(withMetadata("k", "v".repeat(4096))).isEqualTo(400);
    assertThat(withMetadata("a", "v".repeat(2048), "b", "v".repeat(2047))).isEqualTo(400);
    for (String value : List.of("\u00e9", "a\tb", "\u007f")) {
      RawHttp client =
          raw(
              "POST /files?path=m HTTP/1.1",
              49983,
              "Content-Type: application/octet-stream",
              "X-Metadata-K: " + value,
              "Content-Length: 1");
      assertThat(client.send("x").answer().status()).as(value).isEqualTo(400);
    }
  }

  /** Pages of any origin may ask, and hear what they ask for. */
  @Test
  void origins() {
    TestDaemon.Answer before =
        daemon.send(
            daemon
                .open("/files?path=x")
                .header("E2b-Sandbox-Id", sandbox.path("sandboxID").asString())
                .header("E2b-Sandbox-Port", "49983")
                .header("Origin", "https://example.org")
                .header("Access-Control-Request-Method", "POST")
                .header("Access-Control-Request-Headers", "x-access-token,x-metadata-a")
                .method("OPTIONS", BodyPublishers.noBody()));
    assertThat(before.status()).isEqualTo(204);
    assertThat(before.header("access-control-allow-origin")).isEqualTo("*");
    assertThat(before.header("access-control-allow-headers")).contains("x-metadata-a");
    assertThat(before.header("access-control-allow-methods")).contains("POST");
    assertThat(daemon.send(data("/health").GET()).header("access-control-allow-origin"))
        .isEqualTo("*");
    assertThat(daemon.send(data("/files?path=none").GET()).header("access-control-allow-origin"))
        .isEqualTo("*");
  }

  /** What only the real one's makers may ask is not there. */
  @Test
  void init() {
    assertThat(daemon.send(data("/init").POST(BodyPublishers.ofString("{}"))).status())
        .isEqualTo(404);
  }

  /** Watchers have a number, and one that has lost events says so. */
  @Test
  void watchers() {
    String make = "{\"path\":\"/home/user\",\"recursive\":true}";
    String id =
        JSON.readTree(unary("filesystem.Filesystem/CreateWatcher", make).body())
            .path("watcherId")
            .asString();
    for (int i = 1; i < 64; i++) {
      assertThat(unary("filesystem.Filesystem/CreateWatcher", make).status()).isEqualTo(200);
    }
    TestDaemon.Answer tooMany = unary("filesystem.Filesystem/CreateWatcher", make);
    assertThat(tooMany.status()).isEqualTo(429);
    assertThat(tooMany.body()).contains("resource_exhausted");
    String[] names = new String[2100];
    for (int i = 0; i < names.length; i++) {
      names[i] = "f" + i;
    }
    assertThat(form(names).status()).isEqualTo(200); // Each is made and written.
    String ask = "{\"watcherId\":\"" + id + "\"}";
    assertThat(unary("filesystem.Filesystem/GetWatcherEvents", ask).body())
        .contains("resource_exhausted", "lost events");
    assertThat(unary("filesystem.Filesystem/GetWatcherEvents", ask).body()).contains("not_found");
  }

  /** Output is bytes, whatever they are. */
  @Test
  void allBytes() throws Exception {
    StringBuilder script = new StringBuilder("printf '");
    byte[] expected = new byte[256];
    for (int i = 0; i < 256; i++) {
      script.append(String.format("\\\\%03o", i));
      expected[i] = (byte) i;
    }
    RawHttp client =
        stream(
            "process.Process/Start",
            "{\"process\":{\"cmd\":\"/bin/sh\",\"args\":[\"-c\",\"" + script + "'\"]}}");
    client.answerHead();
    assertThat(Wire.next(client)).contains("start");
    java.io.ByteArrayOutputStream got = new java.io.ByteArrayOutputStream();
    for (String next = Wire.next(client); next.contains("stdout"); next = Wire.next(client)) {
      got.writeBytes(
          Base64.getDecoder()
              .decode(
                  JSON.readTree(next.substring(2))
                      .path("event")
                      .path("data")
                      .path("stdout")
                      .asString()));
    }
    assertThat(got.toByteArray()).isEqualTo(expected);
  }

  /** A command whose client does not read waits for it, and nothing piles up. */
  @Test
  void slowReaderOfACommand() throws Exception {
    Path done = folder.resolve("done");
    RawHttp client =
        stream(
            "process.Process/Start",
            "{\"process\":{\"cmd\":\"/bin/sh\",\"args\":[\"-c\",\"head -c "
                + 4 * ON_THE_WAY_MAX
                + " /dev/zero; touch "
                + done
                + "\"]}}");
    client.answerHead();
    Thread.sleep(2000);
    assertThat(Files.exists(done)).as("nobody has read its output").isFalse();
    String last = "";
    for (String next = Wire.next(client); !next.startsWith("2"); next = Wire.next(client)) {
      last = next;
    }
    assertThat(last).contains("exit status 0");
    assertThat(done).exists();
  }

  /** A server at a port whose client does not read waits for it as well. */
  @Test
  void slowReaderOfAPort() throws Exception {
    AtomicLong sent = new AtomicLong();
    ServerSocket listening = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    open.add(listening);
    Threads.platform("test-server", () -> sendWithoutEnd(listening, sent));
    RawHttp client = raw("GET / HTTP/1.1", listening.getLocalPort());
    assertThat(client.answerHead().status()).isEqualTo(200);
    AtomicLong before = new AtomicLong(-1);
    await()
        .atMost(TestDaemon.PATIENCE)
        .pollInterval(Duration.ofMillis(500))
        .until(() -> before.getAndSet(sent.get()) == sent.get());
    assertThat(sent).hasValueLessThan(ON_THE_WAY_MAX);
  }

  private static void sendWithoutEnd(ServerSocket listening, AtomicLong sent) {
    try (Socket socket = listening.accept()) {
      byte[] piece = new byte[65536];
      socket.getOutputStream().write("HTTP/1.1 200 OK\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
      while (true) {
        socket.getOutputStream().write(piece);
        sent.addAndGet(piece.length);
      }
    } catch (IOException e) {
      return; // The test is over.
    }
  }

  /** A paused sandbox that may wake by itself does so for a request to one of its ports. */
  @Test
  void portResumes() throws Exception {
    sandbox = create(",\"autoPause\":true,\"autoResume\":{\"enabled\":true}");
    String path = "/sandboxes/" + sandbox.path("sandboxID").asString();
    assertThat(control("POST", path + "/pause", "{}").status()).isEqualTo(204);
    ServerSocket listening = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    open.add(listening);
    Threads.platform("test-server", () -> answerOnce(listening));
    TestDaemon.Answer answer = daemon.send(data("/", listening.getLocalPort()).GET());
    assertThat(answer.status()).as(answer.body()).isEqualTo(200);
    assertThat(answer.body()).isEqualTo("hello");
    assertThat(control("GET", path, "").body()).contains("\"state\":\"running\"");
  }

  private static void answerOnce(ServerSocket listening) {
    try (Socket socket = listening.accept()) {
      socket
          .getOutputStream()
          .write(
              "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
                  .getBytes(StandardCharsets.US_ASCII));
      var _ = socket.getInputStream().read(new byte[8192]);
    } catch (IOException e) {
      return; // The test is over.
    }
  }

  /** A host that only begins like a sandbox's is the daemon's own. */
  @Test
  void hostsWithNumbers() throws Exception {
    for (String host : List.of("10-0-0-5.nip.io", "10-0-0-5.nip.io:8080", "1-2-3.example")) {
      try (RawHttp client = new RawHttp(daemon.port())) {
        client.head(
            "GET /v1/sandboxes HTTP/1.1",
            "Host: " + host,
            "Authorization: Bearer " + TestDaemon.TOKEN);
        assertThat(client.answer().status()).as(host).isEqualTo(200);
      }
    }
    try (RawHttp client = new RawHttp(daemon.port())) {
      client.head("GET / HTTP/1.1", "Host: 8080-i0000000000000000000.nip.io");
      assertThat(client.answer().status()).isEqualTo(502);
    }
  }

  private static boolean isOpen(RawHttp client) throws IOException {
    client.socket().setSoTimeout(50);
    try {
      return client.input().read() >= 0;
    } catch (java.net.SocketTimeoutException e) {
      return true;
    } catch (java.net.SocketException e) {
      return false;
    }
  }

  private RawHttp known(TestDaemon at) throws IOException {
    RawHttp client = new RawHttp(at.port());
    open.add(client);
    client.head(
        "GET /v2/sandboxes HTTP/1.1",
        "Host: localhost",
        "X-API-KEY: " + ApiKey.of(TestDaemon.TOKEN));
    assertThat(client.answer().status()).isEqualTo(200);
    return client;
  }

  /** Connections of those who are known may rest for longer than clients keep them. */
  @Test
  void keptConnections() throws Exception {
    // Long enough to send a request in, on a machine that stalls.
    Duration patience = Duration.ofSeconds(3);
    try (TestDaemon lasting = keeping("lasting", patience, Limits.KEEP_ALIVE);
        TestDaemon quick = keeping("quick", patience, patience.plusSeconds(1))) {
      RawHttp kept = known(lasting);
      RawHttp known = known(quick);
      RawHttp unknown = new RawHttp(lasting.port());
      open.add(unknown);
      unknown.head("GET /healthz HTTP/1.1", "Host: localhost");
      assertThat(unknown.answer().status()).isEqualTo(200);
      await().atMost(TestDaemon.PATIENCE).until(() -> !isOpen(unknown));
      assertThat(isOpen(kept)).isTrue();
      await().atMost(TestDaemon.PATIENCE).until(() -> !isOpen(known));
    }
  }

  private int sleeper() throws IOException {
    RawHttp process =
        stream(
            "process.Process/Start",
            "{\"process\":{\"cmd\":\"sleep\",\"args\":[\"60\"]},\"stdin\":true}");
    process.answerHead();
    return JSON.readTree(Wire.next(process).substring(2))
        .path("event")
        .path("start")
        .path("pid")
        .asInt();
  }

  private static String input(int pid, String more) {
    return "{\"process\":{\"pid\":" + pid + "},\"input\":{\"stdin\":\"" + more + "\"}}";
  }

  /** What a client sends is held for its sandbox while it is worked on, and not for longer. */
  @Test
  void inputThatIsNotReadIsHeldUntilTheTimeIsUp() throws Exception {
    HeapBudget bodies = daemon.server().bodies();
    String id = sandbox.path("sandboxID").asString();
    byte[] message = input(sleeper(), "A".repeat(3 << 20)).getBytes(StandardCharsets.UTF_8);
    RawHttp client =
        raw(
                "POST /process.Process/SendInput HTTP/1.1",
                49983,
                "Content-Type: application/json",
                "Connect-Timeout-Ms: 6000",
                "Content-Length: " + message.length)
            .send(message);
    await().atMost(TestDaemon.PATIENCE).until(() -> bodies.heldBytes(id) >= 2 << 20);
    assertThat(client.answer().status()).isEqualTo(504);
    await().atMost(TestDaemon.PATIENCE).until(() -> bodies.heldBytes() == 0);
  }

  /** The same for a stream of input, whose client hears of it before the process reads. */
  @Test
  void inputStreamEndsWithItsTime() throws Exception {
    String start = "{\"start\":{\"process\":{\"pid\":" + sleeper() + "}}}";
    String data = "{\"data\":{\"input\":{\"stdin\":\"" + "A".repeat(1 << 20) + "\"}}}";
    RawHttp client =
        raw(
            "POST /process.Process/StreamInput HTTP/1.1",
            49983,
            "Content-Type: application/connect+json",
            "Connect-Timeout-Ms: 6000",
            "Transfer-Encoding: chunked");
    for (String message : List.of(start, data)) {
      byte[] envelope = Wire.envelope(0, message);
      client.send(Integer.toHexString(envelope.length) + "\r\n").send(envelope).send("\r\n");
    }
    client.answerHead();
    assertThat(Wire.next(client)).startsWith("2 {\"error\":{\"code\":\"deadline_exceeded\"");
    await().atMost(TestDaemon.PATIENCE).until(() -> daemon.server().bodies().heldBytes() == 0);
  }

  private TestDaemon keeping(String name, Duration patience, Duration keepAlive) {
    return new TestDaemon(
        new FakeEngine(),
        folder.resolve(name),
        Optional.empty(),
        patience,
        keepAlive,
        Limits.CONNECTIONS_MAX);
  }

  /** When there is hardly room, those that rest the longest go, and nobody who comes waits. */
  @Test
  void crowd() throws Exception {
    try (TestDaemon small =
        new TestDaemon(
            new FakeEngine(),
            folder.resolve("small"),
            Optional.empty(),
            Limits.CLIENT_PATIENCE,
            Limits.KEEP_ALIVE,
            Limits.CONNECTIONS_SPARE + 4)) {
      List<RawHttp> clients = new ArrayList<>();
      for (int i = 0; i < 20; i++) {
        clients.add(known(small));
      }
      for (int i = 0; i < 14; i++) {
        RawHttp old = clients.get(i);
        await().atMost(TestDaemon.PATIENCE).until(() -> !isOpen(old));
      }
      assertThat(isOpen(clients.getLast())).isTrue();
    }
  }

  /** However many connections a stranger opens, those of who is known stay. */
  @Test
  void strangersGoFirst() throws Exception {
    int crowd = 32;
    try (TestDaemon small =
        new TestDaemon(
            new FakeEngine(),
            folder.resolve("strangers"),
            Optional.empty(),
            Limits.CLIENT_PATIENCE,
            Limits.KEEP_ALIVE,
            Limits.CONNECTIONS_SPARE + crowd)) {
      List<RawHttp> known = new ArrayList<>();
      for (int i = 0; i < crowd / 2; i++) {
        known.add(known(small));
      }
      List<RawHttp> strangers = new ArrayList<>();
      for (int i = 0; i < 3 * crowd; i++) {
        strangers.add(new RawHttp(small.port()));
        open.add(strangers.getLast());
        if (i >= crowd) {
          RawHttp old = strangers.get(i - crowd);
          await().atMost(Duration.ofSeconds(5)).until(() -> !isOpen(old));
        }
      }
      assertThat(known).allMatch(DataPlaneTest::isOpenNow);
      assertThat(isOpen(strangers.getLast())).isTrue();
    }
  }

  private static boolean isOpenNow(RawHttp client) {
    try {
      return isOpen(client);
    } catch (IOException e) {
      return false;
    }
  }
}
