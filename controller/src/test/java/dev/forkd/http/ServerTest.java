package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ForkdException;
import dev.forkd.http.TestDaemon.Answer;
import dev.forkd.sdk.Forkd;
import dev.forkd.testkit.FakeEngine;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.KeyStore;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Who gets in, what is written down about it, and what raw sockets may do. */
class ServerTest {
  @TempDir Path folder;
  private TestDaemon daemon;

  @BeforeEach
  void start() {
    daemon = new TestDaemon(new FakeEngine().withTemplate("python"), folder);
  }

  @AfterEach
  void stop() {
    daemon.close();
  }

  private Answer with(String path, String authorization) {
    return daemon.send(daemon.open(path).header("Authorization", authorization).GET());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "'Bearer test-token-0123456789'|200|",
        "'Bearer   test-token-0123456789 '|200|",
        "'bearer test-token-0123456789'|401|missing bearer token",
        "'Bearer'|401|missing bearer token",
        "'Bearer '|401|missing bearer token",
        "'Basic dGVzdA=='|401|missing bearer token",
        "'test-token-0123456789'|401|missing bearer token",
        "'Bearer test-token-012345678'|401|invalid bearer token",
        "'Bearer test-token-01234567890'|401|invalid bearer token",
        "'Bearer TEST-TOKEN-0123456789'|401|invalid bearer token"
      })
  void theTokenOpensTheDoor(String header, int status, String error) {
    Answer answer = with("/v1/snapshots", header);
    assertThat(answer.status()).isEqualTo(status);
    if (error != null) {
      assertThat(answer.error().error()).isEqualTo(error);
      assertThat(answer.header("www-authenticate")).isEmpty();
    }
  }

  @Test
  void onlyHealthIsOpenToAll() {
    assertThat(daemon.send(daemon.open("/healthz").GET()).status()).isEqualTo(200);
    assertThat(daemon.send(daemon.open("/healthz/").GET()).status()).isEqualTo(404);
    for (String path :
        List.of(
            "/metrics",
            "/version",
            "/v1/snapshots",
            "/nonesuch",
            "/Healthz",
            "/healthz/x",
            "//healthz",
            "/healthz%2f",
            "/%68ealthz",
            "/healthz;a=b",
            "/v1/../healthz")) {
      assertThat(daemon.send(daemon.open(path).GET()).status()).as(path).isEqualTo(401);
    }
  }

  @Test
  void theAuditLogHasALinePerRequestAndNoSecrets() throws Exception {
    // A line is written when its answer is on its way: each is waited for before the next.
    daemon.send(daemon.open("/version?secret=1").header("User-Agent", "agent \"7\"\u00e9").GET());
    awaitLines(1);
    Answer known =
        daemon.send(daemon.request("/version").header("x-request-id", "my-request_1").GET());
    assertThat(known.header("x-request-id")).isEqualTo("my-request_1");
    awaitLines(2);
    Answer forged =
        daemon.send(daemon.request("/healthz").header("x-request-id", "not a legal id").GET());
    assertThat(forged.header("x-request-id")).matches("[0-9a-f]{16}");
    awaitLines(3);
    List<String> lines = Files.readAllLines(daemon.auditLog);
    assertThat(lines.getFirst())
        .contains(
            "\"method\":\"GET\"", "\"path\":\"/version\"", "\"status\":401", "\"ua\":\"agent");
    assertThat(lines.get(1))
        .matches("\\{\"ts\":\"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ\".*")
        .contains("\"status\":200", "\"latency_us\":", "\"request_id\":\"my-request_1\"");
    assertThat(String.join("", lines)).doesNotContain("secret", TestDaemon.TOKEN);
    assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(daemon.auditLog)))
        .isEqualTo("rw-------");
  }

  private void awaitLines(int count) {
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() -> assertThat(Files.readAllLines(daemon.auditLog)).hasSize(count));
  }

  @Test
  void theAuditLogIsMovedAsideWhenItIsFull() throws Exception {
    Path file = folder.resolve("small/audit.log");
    try (AuditLog log = AuditLog.open(file, 1000)) {
      for (int i = 0; i < 20; i++) {
        log.record(Instant.EPOCH, "GET", "/" + i, 200, 1, "x".repeat(5000), "r" + i);
      }
      assertThat(log.failures()).isZero();
    }
    assertThat(Files.size(file)).isLessThanOrEqualTo(1000);
    assertThat(Files.readString(file)).contains("\"/19\"");
    assertThat(file.resolveSibling("audit.log.1")).exists();
    assertThatThrownBy(() -> AuditLog.open(Path.of("/proc/none/audit.log")))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("--audit-log");
  }

  /** Sends raw text and gives all that comes back until the server closes. */
  private String raw(String text) throws IOException {
    try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), daemon.port())) {
      socket.setSoTimeout((int) TestDaemon.PATIENCE.toMillis());
      socket.getOutputStream().write(text.getBytes(StandardCharsets.ISO_8859_1));
      socket.getOutputStream().flush();
      socket.shutdownOutput();
      return new String(socket.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1);
    } catch (SocketException e) {
      return ""; // Hung up on in the middle of what it sent.
    }
  }

  @Test
  void malformedHttpIsRefusedAsJsonAndHarmsNobody() throws Exception {
    int answered = 0;
    for (String text :
        List.of(
            "GET\r\n\r\n",
            "\0\0\0\0",
            "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
            "GET /a b c HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: " + "y".repeat(100_000) + "\r\n\r\n",
            "GET /" + "y".repeat(100_000) + " HTTP/1.1\r\n\r\n",
            "POST /v1/sandboxes HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
            "POST /v1/sandboxes HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")) {
      // What is no request at all is hung up on; the rest is refused in our words.
      String answer = raw(text);
      if (!answer.isEmpty()) {
        answered++;
        assertThat(answer).as(text.substring(0, 4)).contains("HTTP/1.1 4", "\"error\":");
        assertThat(answer).doesNotContain("Exception");
      }
    }
    assertThat(answered).isGreaterThan(5);
    assertThat(daemon.get("/healthz").status()).isEqualTo(200);
  }

  /** Random bytes, and right requests cut off or damaged: the server always serves on. */
  @Test
  void randomBytesHarmNobody() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    String right =
        "POST /v1/sandboxes HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
            + TestDaemon.TOKEN
            + "\r\nContent-Type: application/json\r\nContent-Length: 25\r\n\r\n"
            + "{\"snapshot_tag\":\"python\"}";
    for (int i = 0; i < 150; i++) {
      byte[] bytes = right.getBytes(StandardCharsets.ISO_8859_1);
      if (i % 3 == 0) {
        random.nextBytes(bytes);
      } else {
        bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
      }
      String text = new String(bytes, StandardCharsets.ISO_8859_1);
      String answer = raw(text.substring(0, 1 + random.nextInt(text.length())));
      assertThat(answer)
          .as("seed %d, step %d", seed, i)
          .doesNotContain("HTTP/1.1 500")
          .doesNotContain("Exception");
    }
    assertThat(daemon.get("/healthz").status()).as("seed %d", seed).isEqualTo(200);
  }

  @Test
  void anUploadThatIsCutOffLeavesNoFile() throws Exception {
    String id = daemon.child("python");
    try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), daemon.port())) {
      socket
          .getOutputStream()
          .write(
              ("PUT /v1/sandboxes/"
                      + id
                      + "/files?path=/cut HTTP/1.1\r\nHost: a\r\n"
                      + "Authorization: Bearer "
                      + TestDaemon.TOKEN
                      + "\r\nContent-Length: 1000\r\n\r\nonly this")
                  .getBytes(StandardCharsets.ISO_8859_1));
      socket.getOutputStream().flush();
      Thread.sleep(200);
    }
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() -> assertThat(Files.readString(daemon.auditLog)).contains("\"PUT\""));
    assertThat(daemon.get("/v1/sandboxes/" + id + "/files?path=/cut").status()).isEqualTo(404);
  }

  @Test
  void aStreamIsOnItsWayLineByLine() throws Exception {
    String id = daemon.child("python");
    try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), daemon.port())) {
      socket.setSoTimeout((int) TestDaemon.PATIENCE.toMillis());
      String body = "{\"args\":[\"sleep\",\"600\"]}";
      socket
          .getOutputStream()
          .write(
              ("POST /v1/sandboxes/"
                      + id
                      + "/exec/stream HTTP/1.1\r\nHost: a\r\n"
                      + "Authorization: Bearer "
                      + TestDaemon.TOKEN
                      + "\r\nContent-Type: application/json\r\nContent-Length: "
                      + body.length()
                      + "\r\n\r\n"
                      + body)
                  .getBytes(StandardCharsets.ISO_8859_1));
      socket.getOutputStream().flush();
      InputStream in = socket.getInputStream();
      StringBuilder text = new StringBuilder();
      while (!text.toString().contains("{\"alive\":true}\n")) {
        int b = in.read();
        assertThat(b).as("the stream ended early: %s", text).isNotNegative();
        text.append((char) b);
      }
      assertThat(text).contains("application/x-ndjson", "chunked", "{\"session\":\"");
      assertThat(daemon.engine.liveProcesses()).isEqualTo(1);
    }
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() -> assertThat(daemon.engine.liveProcesses()).isZero());
  }

  /** A client that stops in the middle of its request is dropped, whether it has a token or not. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "GET /hea",
        "GET /healthz HTTP/1.1\r\nHost",
        "POST /v1/sandboxes HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
            + TestDaemon.TOKEN
            + "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"sn"
      })
  void aClientThatStopsSendingIsDropped(String begun) throws Exception {
    try (TestDaemon impatient =
            new TestDaemon(
                new FakeEngine(),
                folder.resolve("impatient"),
                Optional.empty(),
                Duration.ofMillis(500));
        Socket socket = new Socket(InetAddress.getLoopbackAddress(), impatient.port())) {
      socket.setSoTimeout((int) TestDaemon.PATIENCE.toMillis());
      socket.getOutputStream().write(begun.getBytes(StandardCharsets.ISO_8859_1));
      socket.getOutputStream().flush();
      InputStream in = socket.getInputStream();
      // An answer may come first; then comes the end, and no time limit of the test's.
      in.readAllBytes();
      assertServes(impatient);
    }
  }

  /** It has so little patience that on a machine that stalls a good client may be dropped, too. */
  private static void assertServes(TestDaemon impatient) {
    await()
        .atMost(TestDaemon.PATIENCE)
        .ignoreExceptions()
        .until(() -> impatient.get("/healthz").status() == 200);
  }

  /** A client that waits for an answer does nothing, and is not dropped for it. */
  @Test
  void aClientThatWaitsIsNotDropped() {
    Duration patience = Duration.ofMillis(1500);
    try (TestDaemon impatient =
        new TestDaemon(
            new FakeEngine().withTemplate("python"),
            folder.resolve("impatient"),
            Optional.empty(),
            patience)) {
      String id = impatient.child("python");
      Answer answer =
          impatient.post(
              "/v1/sandboxes/" + id + "/exec",
              "{\"args\":[\"sleep\",\"" + patience.multipliedBy(3).toMillis() / 1000.0 + "\"]}");
      assertThat(answer.status()).isEqualTo(200);
    }
  }

  /** A command, and an evaluation, are ended when the client that waits for them is gone. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "exec|{\"args\":[\"sleep\",\"600\"],\"timeout_secs\":3600}",
        "eval|{\"code\":\"while True: pass\",\"timeout_secs\":3600}"
      })
  void whatNobodyWaitsForIsEnded(String call, String body) throws Exception {
    String id = daemon.child("python");
    try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), daemon.port())) {
      socket
          .getOutputStream()
          .write(
              ("POST /v1/sandboxes/"
                      + id
                      + "/"
                      + call
                      + " HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
                      + TestDaemon.TOKEN
                      + "\r\nContent-Type: application/json\r\nContent-Length: "
                      + body.length()
                      + "\r\n\r\n"
                      + body)
                  .getBytes(StandardCharsets.ISO_8859_1));
      socket.getOutputStream().flush();
      await()
          .atMost(TestDaemon.PATIENCE)
          .until(() -> daemon.engine.liveProcesses() + daemon.engine.evaluating() == 1);
    }
    await()
        .atMost(TestDaemon.PATIENCE)
        .until(() -> daemon.engine.liveProcesses() + daemon.engine.evaluating() == 0);
    assertThat(daemon.get("/v1/sandboxes/" + id).status()).isEqualTo(200);
  }

  /** An answer too large to be encoded as a whole is the same JSON as any other. */
  @Test
  void aLargeAnswerIsWhole() {
    byte[] bytes = new byte[700_000];
    new java.util.Random(11).nextBytes(bytes);
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] &= 0x7f;
    }
    String id = daemon.child("python");
    TestDaemon.Answer answer =
        daemon.post(
            "/v1/sandboxes/" + id + "/exec",
            "{\"args\":[\"cat\"],\"stdin_base64\":\""
                + java.util.Base64.getEncoder().encodeToString(bytes)
                + "\"}");
    assertThat(answer.status()).isEqualTo(200);
    assertThat(answer.header("transfer-encoding")).isEqualTo("chunked");
    assertThat(answer.as(dev.forkd.api.rest.ExecResponse.class).stdout())
        .isEqualTo(new String(bytes, StandardCharsets.US_ASCII));
  }

  /** A client that stays but reads nothing loses its connection, and its command is ended. */
  @Test
  void aClientThatStopsReadingIsDropped() throws Exception {
    try (TestDaemon impatient =
        new TestDaemon(
            new FakeEngine().withTemplate("python"),
            folder.resolve("impatient"),
            Optional.empty(),
            Duration.ofMillis(500))) {
      String id = impatient.child("python");
      try (Socket socket = new Socket()) {
        socket.setReceiveBufferSize(4096);
        socket.connect(
            new InetSocketAddress(InetAddress.getLoopbackAddress(), impatient.port()), 5000);
        String body = "{\"args\":[\"yes\"],\"timeout_secs\":3600}";
        socket
            .getOutputStream()
            .write(
                ("POST /v1/sandboxes/"
                        + id
                        + "/exec/stream HTTP/1.1\r\nHost: a\r\n"
                        + "Authorization: Bearer "
                        + TestDaemon.TOKEN
                        + "\r\nContent-Type: application/json\r\nContent-Length: "
                        + body.length()
                        + "\r\n\r\n"
                        + body)
                    .getBytes(StandardCharsets.ISO_8859_1));
        socket.getOutputStream().flush();
        await()
            .atMost(TestDaemon.PATIENCE)
            .untilAsserted(() -> {
              assertThat(Files.readString(impatient.auditLog)).contains("/exec/stream");
              assertThat(impatient.engine.startedProcesses()).isEqualTo(1);
              assertThat(impatient.engine.liveProcesses()).isZero();
            });
      }
      assertServes(impatient);
    }
  }

  @Test
  void aStoppingServerLetsRequestsEndAndRefusesNewOnes() throws Exception {
    String id = daemon.child("python");
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch goOn = new CountDownLatch(1);
    daemon.engine.duringBranch(() -> {
      inside.countDown();
      assertThat(waited(goOn)).isTrue();
    });
    CompletableFuture<Answer> running =
        CompletableFuture.supplyAsync(() -> daemon.post("/v1/sandboxes/" + id + "/branch", "{}"));
    assertThat(waited(inside)).isTrue();
    CompletableFuture<Void> stopping =
        CompletableFuture.runAsync(() -> daemon.server().stop(TestDaemon.PATIENCE));
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() -> {
          Answer refused = daemon.get("/v1/sandboxes");
          assertThat(refused.status()).isEqualTo(503);
          assertThat(refused.error().error()).contains("stopping");
        });
    assertThat(stopping).isNotDone();
    goOn.countDown();
    assertThat(running.get(40, TimeUnit.SECONDS).status()).isEqualTo(201);
    stopping.get(40, TimeUnit.SECONDS);
    assertThatThrownBy(() -> daemon.get("/healthz")).isInstanceOf(IllegalStateException.class);
  }

  private static boolean waited(CountDownLatch latch) {
    try {
      return latch.await(TestDaemon.PATIENCE.toSeconds(), TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  @Test
  void httpsIsServedWithACertificateOfOnesOwn() throws Exception {
    Path store = folder.resolve("store.p12");
    Process keytool =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "keytool").toString(),
                "-genkeypair",
                "-alias",
                "forkd",
                "-keyalg",
                "EC",
                "-dname",
                "CN=localhost",
                "-ext",
                "san=ip:127.0.0.1",
                "-validity",
                "2",
                "-storetype",
                "PKCS12",
                "-keystore",
                store.toString(),
                "-storepass",
                "secret")
            .redirectErrorStream(true)
            .start();
    assertThat(keytool.waitFor(60, TimeUnit.SECONDS)).isTrue();
    KeyStore keys = KeyStore.getInstance(store.toFile(), "secret".toCharArray());
    var encoder = java.util.Base64.getMimeEncoder(64, new byte[] {'\n'});
    Path certificate =
        Files.writeString(
            folder.resolve("cert.pem"),
            "-----BEGIN CERTIFICATE-----\n"
                + encoder.encodeToString(keys.getCertificate("forkd").getEncoded())
                + "\n-----END CERTIFICATE-----\n");
    Path key =
        Files.writeString(
            folder.resolve("key.pem"),
            "-----BEGIN PRIVATE KEY-----\n"
                + encoder.encodeToString(keys.getKey("forkd", "secret".toCharArray()).getEncoded())
                + "\n-----END PRIVATE KEY-----\n");
    TrustManagerFactory trust =
        TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
    trusted.load(null, null);
    trusted.setCertificateEntry("forkd", keys.getCertificate("forkd"));
    trust.init(trusted);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    try (TestDaemon secure =
            new TestDaemon(
                new FakeEngine().withTemplate("python"),
                folder.resolve("tls"),
                Optional.of(new ServerConfig.TlsFiles(certificate, key)));
        Forkd forkd =
            Forkd.builder().url(secure.url()).token(TestDaemon.TOKEN).tls(context).build()) {
      assertThat(secure.url()).startsWith("https://");
      assertThat(forkd.snapshots()).hasSize(1);
      try (Forkd stranger = Forkd.connect(secure.url(), TestDaemon.TOKEN)) {
        assertThat(stranger.isHealthy()).isFalse();
      }
    }
    assertThatThrownBy(() ->
            new TestDaemon(
                new FakeEngine(),
                folder.resolve("bad"),
                Optional.of(new ServerConfig.TlsFiles(key, certificate))))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("TLS");
  }
}
