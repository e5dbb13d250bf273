package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ApiKey;
import dev.forkd.http.connect.Wire;
import dev.forkd.testkit.FakeEngine;
import java.io.IOException;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** E2B's control and data plane over the real server, byte by byte; the guests are fakes. */
class HostingTest {
  private static final JsonMapper JSON = JsonMapper.shared();
  @TempDir private Path folder;
  private TestDaemon daemon;

  @BeforeEach
  void start() {
    daemon = new TestDaemon(new FakeEngine().withTemplate("base"), folder);
  }

  @AfterEach
  void stop() {
    daemon.close();
  }

  private HttpRequest.Builder control(String path) {
    return daemon
        .open(path)
        .header("X-API-KEY", ApiKey.of(TestDaemon.TOKEN))
        .header("Content-Type", "application/json");
  }

  private TestDaemon.Answer post(String path, String body) {
    return daemon.send(control(path).POST(BodyPublishers.ofString(body)));
  }

  private JsonNode create(String more) {
    TestDaemon.Answer answer = post("/v2/sandboxes", "{\"templateID\":\"base\"" + more + "}");
    assertThat(answer.status()).as(answer.body()).isEqualTo(201);
    return JSON.readTree(answer.body());
  }

  private static String id(JsonNode sandbox) {
    return sandbox.path("sandboxID").asString();
  }

  private void refused(TestDaemon.Answer answer, int status) {
    assertThat(answer.status()).as(answer.body()).isEqualTo(status);
    JsonNode body = JSON.readTree(answer.body());
    assertThat(body.path("code").asInt()).as("clients go by the number").isEqualTo(status);
    assertThat(body.path("message").asString()).isNotEmpty();
  }

  private HttpRequest.Builder data(JsonNode sandbox, String path) {
    return daemon
        .open(path)
        .header("E2b-Sandbox-Id", id(sandbox))
        .header("E2b-Sandbox-Port", "49983")
        .header("X-Access-Token", sandbox.path("envdAccessToken").asString());
  }

  /** What is missing or wrong is the status that the clients know, and its number in the body. */
  @Test
  void refusals() {
    refused(daemon.send(daemon.open("/v2/sandboxes").GET()), 401);
    refused(daemon.send(daemon.open("/v2/sandboxes").header("X-API-KEY", "e2b_00").GET()), 401);
    refused(post("/v2/sandboxes", "{\"templateID\":\"none\"}"), 404);
    refused(post("/v2/sandboxes", "{}"), 400);
    refused(post("/v2/sandboxes", "nonsense"), 400);
    refused(post("/v2/sandboxes", "{\"templateID\":\"base\",\"timeout\":\"x\"}"), 400);
    refused(
        post("/v2/sandboxes", "{\"templateID\":\"base\",\"network\":{\"allowOut\":[\"1.1.1.1\"]}}"),
        400);
    refused(post("/v2/sandboxes", "{\"templateID\":\"base\",\"autoPauseMemory\":false}"), 400);
    refused(daemon.send(control("/sandboxes/i0000000000000000000").DELETE()), 404);
    refused(post("/v3/templates", "{\"name\":\"x\"}"), 501);
    refused(daemon.send(control("/v2/sandboxes?limit=101").GET()), 400);
    refused(daemon.send(control("/v2/sandboxes?nextToken=%21").GET()), 400);
    assertThat(daemon.send(control("/v2/sandboxes").GET()).body()).isEqualTo("[]");
  }

  /** What happened is told in both generations' shapes, from where and as much as was asked for. */
  @Test
  void history() {
    JsonNode made = create("");
    String id = made.path("sandboxID").asString();
    post("/sandboxes/" + id + "/timeout", "{\"timeout\":60}");
    JsonNode first = told("/sandboxes/" + id + "/logs");
    assertThat(first.path("logs").size()).isEqualTo(2);
    JsonNode line = JSON.readTree(first.path("logs").path(0).path("line").asString());
    assertThat(line.path("level").asString()).isEqualTo("info");
    assertThat(line.path("logger").asString()).isEqualTo("sandbox");
    assertThat(line.path("message").asString()).isEqualTo("created");
    assertThat(first.path("logEntries").path(1).path("fields").path("end").asString()).isNotEmpty();
    String logs = "/v2/sandboxes/" + id + "/logs";
    assertThat(messages(logs)).containsExactly("created", "has another end");
    assertThat(messages(logs + "?direction=backward&limit=1")).containsExactly("has another end");
    assertThat(messages(logs + "?search=another")).containsExactly("has another end");
    assertThat(messages(logs + "?level=warn")).isEmpty();
    assertThat(messages(logs + "?cursor=99999999999999")).isEmpty();
    assertThat(messages(logs + "?direction=backward&cursor=99999999999999")).hasSize(2);
    for (String bad : List.of("level=loud", "direction=up", "cursor=x", "limit=-1", "limit=1001")) {
      refused(daemon.send(control(logs + "?" + bad).GET()), 400);
    }
    refused(daemon.send(control("/v2/sandboxes/i00000/logs").GET()), 404);
    String metrics = "/sandboxes/" + id + "/metrics";
    JsonNode samples = told(metrics);
    assertThat(samples.path(0).path("memTotal").asLong()).isPositive();
    assertThat(told(metrics + "?start=99999999999").isEmpty()).isTrue();
    assertThat(told(metrics + "?end=1").isEmpty()).isTrue();
    refused(daemon.send(control(metrics + "?start=soon").GET()), 400);
    JsonNode many = told("/sandboxes/metrics?sandbox_ids=" + id);
    assertThat(many.path("sandboxes").path(id).path("cpuCount").asInt()).isPositive();
    JsonNode templates = told("/templates");
    assertThat(templates.findValuesAsString("templateID")).contains("base");
    assertThat(templates.path(0).path("diskSizeMB").asInt()).isPositive();
  }

  private JsonNode told(String path) {
    TestDaemon.Answer answer = daemon.send(control(path).GET());
    assertThat(answer.status()).as(answer.body()).isEqualTo(200);
    return JSON.readTree(answer.body());
  }

  private List<String> messages(String path) {
    return told(path).path("logs").findValuesAsString("message");
  }

  /** A sandbox has all that strict clients want, and its life has the statuses they go by. */
  @Test
  void life() {
    JsonNode made = create(",\"metadata\":{\"a b\":\"c&d\"},\"timeout\":100");
    assertThat(id(made)).matches("i[a-z0-9]{19}");
    assertThat(made.path("clientID").asString()).isNotEmpty();
    assertThat(made.path("envdVersion").asString()).isEqualTo("0.6.13");
    String path = "/sandboxes/" + id(made);
    JsonNode detail = JSON.readTree(daemon.send(control(path).GET()).body());
    for (String field :
        List.of("startedAt", "endAt", "state", "cpuCount", "memoryMB", "diskSizeMB", "clientID")) {
      assertThat(detail.has(field)).as(field).isTrue();
    }
    // Encoded three times, as the clients do it.
    assertThat(daemon.send(control("/v2/sandboxes?metadata=a%252520b%3Dc%252526d").GET()).body())
        .contains(id(made));
    assertThat(daemon.send(control("/v2/sandboxes?metadata=a%252520b%3Dother").GET()).body())
        .isEqualTo("[]");
    assertThat(post(path + "/timeout", "{\"timeout\":200}").status()).isEqualTo(204);
    assertThat(post("/v2" + path + "/connect", "{}").status()).isEqualTo(200);
    assertThat(post(path + "/pause", "{}").status()).isEqualTo(204);
    refused(post(path + "/pause", "{}"), 409);
    refused(post(path + "/timeout", "{\"timeout\":200}"), 404);
    refused(post(path + "/fork", "{\"count\":1}"), 409);
    assertThat(post("/v2" + path + "/connect", "").status()).isEqualTo(201);
    refused(post(path + "/fork", "{\"count\":0}"), 400);
    refused(post(path + "/fork", "{\"count\":101}"), 400);
    assertThat(JSON.readTree(post(path + "/fork", "{\"count\":2}").body())).hasSize(2);
    String snapshot =
        JSON.readTree(post(path + "/snapshots", "{\"name\":\"n1\"}").body())
            .path("snapshotID")
            .asString();
    assertThat(daemon.send(control("/snapshots?sandboxID=" + id(made)).GET()).body())
        .contains(snapshot, "n1:default");
    assertThat(post("/v2/sandboxes", "{\"templateID\":\"n1:default\"}").status()).isEqualTo(201);
    assertThat(daemon.send(control("/templates/" + snapshot + "%3Adefault").DELETE()).status())
        .isEqualTo(204);
    refused(daemon.send(control("/templates/" + snapshot).DELETE()), 404);
    assertThat(daemon.send(control(path).DELETE()).status()).isEqualTo(204);
    refused(daemon.send(control(path).DELETE()), 404);
  }

  /** Pages go on behind the last item of the one before. */
  @Test
  void pages() {
    List<String> ids = new ArrayList<>();
    for (int i = 0; i < 5; i++) {
      ids.addFirst(id(create("")));
    }
    List<String> seen = new ArrayList<>();
    String token = "";
    do {
      TestDaemon.Answer page =
          daemon.send(
              control("/v2/sandboxes?limit=2" + (token.isEmpty() ? "" : "&nextToken=" + token))
                  .GET());
      JSON.readTree(page.body()).forEach(one -> seen.add(id(one)));
      token = page.header("x-next-token");
    } while (!token.isEmpty());
    assertThat(seen).containsExactlyInAnyOrderElementsOf(ids);
    assertThat(seen).doesNotHaveDuplicates();
  }

  /** A sandbox that is not there, a closed port and no address are what the clients look for. */
  @Test
  void gateway() {
    TestDaemon.Answer gone =
        daemon.send(
            daemon
                .open("/health")
                .header("E2b-Sandbox-Id", "i0000000000000000000")
                .header("E2b-Sandbox-Port", "49983")
                .GET());
    assertThat(gone.status()).isEqualTo(502);
    assertThat(gone.body())
        .isEqualTo(
            "{\"sandboxId\":\"i0000000000000000000\",\"message\":\"The sandbox was not found\","
                + "\"code\":502}");
    JsonNode sandbox = create("");
    assertThat(daemon.send(data(sandbox, "/health").GET()).status()).isEqualTo(204);
    refused(
        daemon.send(daemon.open("/files?path=x").header("E2b-Sandbox-Id", id(sandbox)).GET()), 400);
    refused(
        daemon.send(
            daemon
                .open("/files?path=x")
                .header("E2b-Sandbox-Id", id(sandbox))
                .header("E2b-Sandbox-Port", "49983")
                .GET()),
        401);
    refused(daemon.send(data(sandbox, "/files?path=x").GET()), 404);
    refused(daemon.send(data(sandbox, "/files?path=a%00b").GET()), 400);
    refused(daemon.send(data(sandbox, "/files?path=x&username=nobody").GET()), 401);
    refused(daemon.send(data(sandbox, "/files?path=/home").GET()), 400);
  }

  /** Files go up in both ways and come back, whole or in part. */
  @Test
  void files() {
    JsonNode sandbox = create("");
    TestDaemon.Answer octets =
        daemon.send(
            data(sandbox, "/files?path=sub/a.txt")
                .header("Content-Type", "application/octet-stream")
                .header("X-Metadata-Kind", "note")
                .POST(BodyPublishers.ofString("0123456789")));
    assertThat(octets.status()).as(octets.body()).isEqualTo(200);
    assertThat(octets.body())
        .contains("\"path\":\"/home/user/sub/a.txt\"", "\"metadata\":{\"kind\":\"note\"}");
    String form =
        """
        --b
        Content-Disposition: form-data; name="file"; filename="one/x"

        1
        --b
        Content-Disposition: form-data; name="file"; filename="two"

        2
        --b--
        """
            .replace("\n", "\r\n");
    TestDaemon.Answer forms =
        daemon.send(
            data(sandbox, "/files")
                .header("Content-Type", "multipart/form-data; boundary=b")
                .POST(BodyPublishers.ofString(form)));
    assertThat(forms.body()).contains("/home/user/one/x", "/home/user/two");
    TestDaemon.Answer part =
        daemon.send(data(sandbox, "/files?path=sub/a.txt").header("Range", "bytes=2-4").GET());
    assertThat(part.status()).isEqualTo(206);
    assertThat(part.body()).isEqualTo("234");
    refused(
        daemon.send(
            data(sandbox, "/files")
                .header("Content-Type", "multipart/form-data; boundary=b")
                .POST(BodyPublishers.ofString("--b\r\nnonsense"))),
        400);
    byte[] broken = brokenGzip();
    for (byte[] body :
        List.of(
            "nonsense".getBytes(StandardCharsets.UTF_8),
            broken,
            Arrays.copyOf(broken, broken.length / 2))) {
      refused(
          daemon.send(
              data(sandbox, "/files?path=z")
                  .header("Content-Type", "application/octet-stream")
                  .header("Content-Encoding", "gzip")
                  .POST(BodyPublishers.ofByteArray(body))),
          400);
    }
  }

  /** It begins well. */
  private static byte[] brokenGzip() {
    java.io.ByteArrayOutputStream bytes = new java.io.ByteArrayOutputStream();
    try (java.util.zip.GZIPOutputStream zip = new java.util.zip.GZIPOutputStream(bytes)) {
      zip.write(new byte[100_000]);
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
    byte[] broken = bytes.toByteArray();
    java.util.Arrays.fill(broken, broken.length / 2, broken.length, (byte) 0x55);
    return broken;
  }

  private RawHttp procedure(JsonNode sandbox, String name, byte[] body, String... more) {
    List<String> headers =
        new ArrayList<>(
            List.of(
                "Content-Type: application/connect+json",
                "Connect-Protocol-Version: 1",
                "E2b-Sandbox-Id: " + id(sandbox),
                "E2b-Sandbox-Port: 49983",
                "X-Access-Token: " + sandbox.path("envdAccessToken").asString()));
    headers.addAll(List.of(more));
    return new RawHttp(daemon.port())
        .request("POST /" + name + " HTTP/1.1", body, headers.toArray(String[]::new));
  }

  /** Starts a process; the answer's head is read. */
  private RawHttp started(JsonNode sandbox, String process, String... more) throws IOException {
    RawHttp client = procedure(sandbox, "process.Process/Start", Wire.envelope(0, process), more);
    assertThat(client.answerHead().status()).isEqualTo(200);
    assertThat(Wire.next(client)).startsWith("0 {\"event\":{\"start\":{\"pid\":");
    return client;
  }

  /** A process's events, each sent at once, and the end of the stream behind the end of it. */
  @Test
  void processEvents() throws Exception {
    JsonNode sandbox = create("");
    RawHttp client =
        started(
            sandbox,
            "{\"process\":{\"cmd\":\"/bin/sh\",\"args\":[\"-c\",\"echo hi; exit 3\"],"
                + "\"cwd\":\"/tmp\"},\"unknown\":1}");
    assertThat(Wire.next(client)).isEqualTo("0 {\"event\":{\"data\":{\"stdout\":\"aGkK\"}}}");
    assertThat(Wire.next(client)).contains("\"exitCode\":3", "exit status 3");
    assertThat(Wire.next(client)).isEqualTo("2 {}");
  }

  /** A quiet stream shows that it lives, as often as the client asks. */
  @Test
  void keepAlive() throws Exception {
    JsonNode sandbox = create("");
    RawHttp client =
        started(
            sandbox,
            "{\"process\":{\"cmd\":\"sleep\",\"args\":[\"60\"]}}",
            "Keepalive-Ping-Interval: 1");
    assertThat(Wire.next(client)).isEqualTo("0 {\"event\":{\"keepalive\":{}}}");
  }

  /** Whoever leaves ends nothing: the process is found again, and killed by its number. */
  @Test
  void leavingIsNotKilling() throws Exception {
    JsonNode sandbox = create("");
    RawHttp client =
        started(sandbox, "{\"process\":{\"cmd\":\"sleep\",\"args\":[\"60\"]},\"tag\":\"t\"}");
    client.socket().close();
    RawHttp again =
        procedure(
            sandbox, "process.Process/Connect", Wire.envelope(0, "{\"process\":{\"tag\":\"t\"}}"));
    again.answerHead();
    assertThat(Wire.next(again)).contains("start");
    TestDaemon.Answer killed =
        daemon.send(
            data(sandbox, "/process.Process/SendSignal")
                .header("Content-Type", "application/json")
                .POST(
                    BodyPublishers.ofString(
                        "{\"process\":{\"tag\":\"t\"},\"signal\":\"SIGNAL_SIGKILL\"}")));
    assertThat(killed.status()).isEqualTo(200);
    assertThat(Wire.next(again)).contains("\"exitCode\":-1", "signal: killed");
    assertThat(Wire.next(again)).isEqualTo("2 {}");
  }

  /** The time of a call is the life of its process, and the end of the stream says so. */
  @Test
  void timeIsUp() throws Exception {
    JsonNode sandbox = create("");
    byte[] start = Wire.envelope(0, "{\"process\":{\"cmd\":\"sleep\",\"args\":[\"60\"]}}");
    String first = "";
    // On a machine that stalls its time may be up before the process has begun.
    for (int millis = 300; !first.contains("start") && millis <= 30_000; millis *= 10) {
      RawHttp client =
          procedure(sandbox, "process.Process/Start", start, "Connect-Timeout-Ms: " + millis);
      assertThat(client.answerHead().status()).isEqualTo(200);
      first = Wire.next(client);
      assertThat(first.contains("start") ? Wire.next(client) : first).contains("deadline_exceeded");
    }
    assertThat(first).startsWith("0 {\"event\":{\"start\":{\"pid\":");
  }

  /** A list of inputs, with what a process says to them. */
  @Test
  void streamedInput() throws Exception {
    JsonNode sandbox = create("");
    RawHttp client =
        started(sandbox, "{\"process\":{\"cmd\":\"cat\"},\"tag\":\"c\",\"stdin\":true}");
    java.io.ByteArrayOutputStream inputs = new java.io.ByteArrayOutputStream();
    inputs.writeBytes(Wire.envelope(0, "{\"start\":{\"process\":{\"tag\":\"c\"}}}"));
    inputs.writeBytes(Wire.envelope(0, "{\"data\":{\"input\":{\"stdin\":\"aGkK\"}}}"));
    inputs.writeBytes(Wire.envelope(0, "{\"keepalive\":{}}"));
    RawHttp input = procedure(sandbox, "process.Process/StreamInput", inputs.toByteArray());
    assertThat(input.answerHead().status()).isEqualTo(200);
    assertThat(Wire.next(input)).isEqualTo("0 {}");
    assertThat(Wire.next(input)).isEqualTo("2 {}");
    assertThat(Wire.next(client)).contains("aGkK");
    RawHttp wrong =
        procedure(
            sandbox,
            "process.Process/StreamInput",
            Wire.envelope(0, "{\"data\":{\"input\":{\"stdin\":\"aGkK\"}}}"));
    wrong.answerHead();
    assertThat(Wire.next(wrong)).contains("invalid_argument", "must name the process");
  }

  /** What goes wrong before the first message is told by the end of the stream. */
  @Test
  void processRefusals() throws Exception {
    JsonNode sandbox = create("");
    for (byte[] body :
        List.of(
            new byte[] {0, 0, 0},
            new byte[] {0, 0, 0, 0, 9, '{'},
            Wire.envelope(0, "nonsense"),
            Wire.envelope(0, "{\"process\":{\"cmd\":\"x\",\"cwd\":\"/no/such\"}}"))) {
      RawHttp client = procedure(sandbox, "process.Process/Start", body);
      assertThat(client.answerHead().status()).isEqualTo(200);
      assertThat(Wire.next(client)).startsWith("2 {\"error\":{\"code\":\"invalid_argument\"");
    }
    RawHttp stranger =
        procedure(
            sandbox,
            "process.Process/Start",
            Wire.envelope(0, "{\"process\":{\"cmd\":\"true\"}}"),
            "Authorization: Basic "
                + java.util.Base64.getEncoder()
                    .encodeToString("nobody:".getBytes(StandardCharsets.UTF_8)));
    stranger.answerHead();
    assertThat(Wire.next(stranger)).contains("\"unauthenticated\"", "invalid username: 'nobody'");
  }

  /** A stream is cut the moment its sandbox is killed, with no end that could be taken for one. */
  @Test
  void killCutsStreams() throws Exception {
    JsonNode sandbox = create("");
    RawHttp client = started(sandbox, "{\"process\":{\"cmd\":\"sleep\",\"args\":[\"60\"]}}");
    assertThat(daemon.send(control("/sandboxes/" + id(sandbox)).DELETE()).status()).isEqualTo(204);
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() -> assertThat(client.input().read()).isEqualTo(-1));
    assertThat(daemon.send(data(sandbox, "/health").GET()).status()).isEqualTo(502);
  }

  /** At its end it is killed, or paused and resumed by the next request. */
  @Test
  void ends() {
    JsonNode dies = create(",\"timeout\":1");
    JsonNode sleeps = create(",\"timeout\":1,\"autoPause\":true,\"autoResume\":{\"enabled\":true}");
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(
            () -> assertThat(daemon.send(data(dies, "/health").GET()).status()).isEqualTo(502));
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() ->
            assertThat(daemon.send(control("/sandboxes/" + id(sleeps)).GET()).body())
                .contains("\"state\":\"paused\""));
    assertThat(daemon.send(data(sleeps, "/files?path=none").GET()).status()).isEqualTo(404);
    assertThat(daemon.send(control("/sandboxes/" + id(sleeps)).GET()).body())
        .contains("\"state\":\"running\"");
  }
}
