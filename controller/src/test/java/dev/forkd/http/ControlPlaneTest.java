package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.api.ApiKey;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.testkit.FakeEngine;
import java.net.URLEncoder;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** What E2B's control plane makes of every field that clients send, and of what they should not. */
class ControlPlaneTest {
  private static final JsonMapper JSON = JsonMapper.shared();
  private static final int FUZZED_REQUESTS = 3000;

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

  private TestDaemon.Answer get(String path) {
    return daemon.send(control(path).GET());
  }

  private static JsonNode ok(TestDaemon.Answer answer, int status) {
    assertThat(answer.status()).as(answer.body()).isEqualTo(status);
    return JSON.readTree(answer.body());
  }

  private static JsonNode refused(TestDaemon.Answer answer, int status) {
    JsonNode body = ok(answer, status);
    assertThat(body.path("code").isInt()).as("clients go by the number").isTrue();
    assertThat(body.path("code").asInt()).isEqualTo(status);
    assertThat(body.path("message").asString()).isNotEmpty();
    return body;
  }

  private TestDaemon.Answer creation(String more) {
    return post("/v2/sandboxes", "{\"templateID\":\"base\"" + more + "}");
  }

  private JsonNode create(String more) {
    return ok(creation(more), 201);
  }

  private static String path(JsonNode sandbox) {
    return "/sandboxes/" + sandbox.path("sandboxID").asString();
  }

  /** Only one that is paused already is 409: clients report success for it. */
  @Test
  void pauseThatCannotBe() {
    String path = path(create(""));
    for (ErrorCode code :
        List.of(
            ErrorCode.FAILED_PRECONDITION,
            ErrorCode.ABORTED,
            ErrorCode.ALREADY_EXISTS,
            ErrorCode.DEADLINE_EXCEEDED)) {
      daemon.engine.duringBranch(() -> {
        throw new ForkdException(code, "2 requests are still under way");
      });
      JsonNode told = refused(post(path + "/pause", "{}"), 503);
      assertThat(told.path("message").asString()).contains("try again", "2 requests");
      assertThat(ok(get(path), 200).path("state").asString()).isEqualTo("running");
    }
    daemon.engine.duringBranch(() -> {});
    assertThat(post(path + "/pause", "{\"requireHealthyGuest\":true}").status()).isEqualTo(204);
    refused(post(path + "/pause", "{}"), 409);
    refused(post("/sandboxes/i0000000000000000000/pause", "{}"), 404);
  }

  /** What a paused sandbox was saved with is told, and only of a paused one. */
  @Test
  void pauseMode() {
    String path = path(create(""));
    assertThat(ok(get(path), 200).has("pauseMode")).isFalse();
    for (boolean memory : new boolean[] {true, false}) {
      assertThat(post(path + "/pause", "{\"memory\":" + memory + "}").status()).isEqualTo(204);
      assertThat(ok(get(path), 200).path("pauseMode").asString())
          .isEqualTo(memory ? "full" : "filesystem");
      ok(post("/v2" + path + "/connect", "{}"), 201);
    }
  }

  /** A first-generation resumption; what it cannot have is refused. */
  @Test
  void resume() {
    String path = path(create(""));
    refused(post(path + "/resume", "{}"), 409);
    assertThat(post(path + "/pause", "").status()).isEqualTo(204);
    refused(post(path + "/resume", "{\"autoPause\":true}"), 400);
    ok(post(path + "/resume", "{\"autoPause\":false,\"memory\":false,\"timeout\":60}"), 201);
  }

  /** A snapshot is made with or without memory; names are found as E2B finds them. */
  @Test
  void snapshots() {
    String path = path(create(""));
    JsonNode full = ok(post(path + "/snapshots", "{\"name\":\"Mile-Stone\"}"), 201);
    assertThat(full.path("names").path(0).asString()).isEqualTo("mile-stone:default");
    JsonNode disk =
        ok(post(path + "/snapshots", "{\"name\":\"team/mile-stone:v1.2\",\"memory\":false}"), 201);
    assertThat(disk.path("names").path(0).asString()).isEqualTo("mile-stone:v1.2");
    assertThat(daemon.engine.snapshots().stream().map(one -> one.branchMode().orElse("")))
        .as("the disk was booted, and nothing is left of what it was taken from")
        .containsExactlyInAnyOrder("", "diff", "compact");
    for (String name : List.of("mile-stone", "mile-stone:default", "team/MILE-stone")) {
      assertThat(named(name)).as(name).containsExactly(full.path("snapshotID").asString());
    }
    for (String name :
        List.of("mile-stone:v1.2", "x/mile-stone:v1.2", disk.path("snapshotID").asString())) {
      assertThat(named(name)).as(name).containsExactly(disk.path("snapshotID").asString());
      ok(post("/v2/sandboxes", "{\"templateID\":\"" + name + "\"}"), 201);
    }
    assertThat(named("mile-stone:v2")).isEmpty();
    refused(post("/v2/sandboxes", "{\"templateID\":\"mile-stone:v2\"}"), 404);
    for (String bad : List.of("", "a b", "a:b:c", "a/b/c", ":v1", "a.b", "ä", "x".repeat(32))) {
      refused(post(path + "/snapshots", "{\"name\":\"" + bad + "\"}"), 400);
    }
    assertThat(daemon.send(control("/templates/mile-stone%3Av1.2").DELETE()).status())
        .isEqualTo(204);
    assertThat(named("mile-stone:v1.2")).isEmpty();
  }

  private List<String> named(String name) {
    return ok(get("/snapshots?name=" + URLEncoder.encode(name, StandardCharsets.UTF_8)), 200)
        .findValuesAsString("snapshotID");
  }

  /** What the network cannot be is refused; what it forbids anyway is accepted if it is right. */
  @Test
  void network() {
    String path = path(create(",\"network\":{\"denyOut\":[\"0.0.0.0/0\",\"::/0\",\"1.1.1.1\"]}"));
    for (String bad :
        List.of(
            "\"denyOut\":[\"example.com\"]",
            "\"denyOut\":[\"1.1.1.1/33\"]",
            "\"denyOut\":[\"1.1.1.1/\"]",
            "\"denyOut\":[null]",
            "\"dnsServers\":[\"::1\"]",
            "\"dnsServers\":[\"dns.google\"]",
            "\"httpsPorts\":[8443]",
            "\"allowOut\":[\"1.1.1.1\"]",
            "\"rules\":{\"a.b\":[{}]}",
            "\"egressProxy\":{\"address\":\"1.1.1.1:1080\"}")) {
      refused(creation(",\"network\":{" + bad + "}"), 400);
      refused(
          daemon.send(control(path + "/network").PUT(BodyPublishers.ofString("{" + bad + "}"))),
          400);
    }
    String fine = "{\"dnsServers\":[\"8.8.8.8\"],\"httpsPorts\":[],\"allowOut\":[],\"rules\":{}}";
    assertThat(daemon.send(control(path + "/network").PUT(BodyPublishers.ofString(fine))).status())
        .isEqualTo(204);
  }

  /** A null in a map is an empty word, as it is to E2B; a body that is null is refused. */
  @Test
  void nulls() {
    JsonNode made = create(",\"envVars\":{\"K\":null},\"metadata\":{\"m\":null},\"timeout\":null");
    JsonNode metadata = ok(get(path(made)), 200).path("metadata");
    assertThat(metadata.path("m").isString()).isTrue();
    assertThat(metadata.path("m").asString()).isEmpty();
    refused(post("/v2/sandboxes", "null"), 400);
    refused(post(path(made) + "/pause", "null"), 400);
  }

  /** A time that is longer than any is as long as can be. */
  @Test
  void endlessTimes() {
    for (String endless : List.of("9300000000000000", "9223372036854775807")) {
      JsonNode made = create(",\"timeout\":" + endless);
      Instant end = Instant.parse(ok(get(path(made)), 200).path("endAt").asString());
      assertThat(end).isAfter(Instant.now().plus(Duration.ofDays(300)));
      ok(post(path(made) + "/fork", "{\"timeout\":" + endless + "}"), 201);
    }
    refused(creation(",\"timeout\":92233720368547758080"), 400);
  }

  /** What nobody has foreseen has the shape that clients know, on both surfaces. */
  @Test
  void defects() {
    JsonNode made = create("");
    daemon.engine.duringBranch(() -> {
      throw new IllegalStateException("a test of defects");
    });
    JsonNode told = refused(post(path(made) + "/snapshots", "{}"), 500);
    assertThat(told.path("message").asString()).contains("its log names request");
    daemon.engine.failNext(new IllegalStateException("a test of defects"));
    refused(
        daemon.send(
            daemon
                .open("/files?path=x")
                .header("E2b-Sandbox-Id", made.path("sandboxID").asString())
                .header("E2b-Sandbox-Port", "49983")
                .header("X-Access-Token", made.path("envdAccessToken").asString())
                .GET()),
        500);
  }

  /** Under one key one sandbox is made, while the key is used for the same. */
  @Test
  void repeats() throws Exception {
    String id = keyed("k-1", "").path("sandboxID").asString();
    assertThat(keyed("k-1", "").path("sandboxID").asString()).isEqualTo(id);
    assertThat(keyed("k-2", "").path("sandboxID").asString()).isNotEqualTo(id);
    JsonNode other = refused(sent("k-1", ",\"timeout\":7"), 409);
    assertThat(other.path("error_code").asString()).isEqualTo("idempotency_request_mismatch");
    refused(sent("K", ""), 400);
    assertThat(daemon.send(control("/sandboxes/" + id).DELETE()).status()).isEqualTo(204);
    assertThat(refused(sent("k-1", ""), 409).path("message").asString()).contains("has ended");
    refused(sent("k-3", ",\"network\":{\"allowOut\":[\"1.1.1.1\"]}"), 400);
    refused(sent("k-3", ",\"network\":{\"allowOut\":[\"1.1.1.1\"]}"), 400);
    AtomicReference<String> first = new AtomicReference<>("");
    CountDownLatch begun = new CountDownLatch(1);
    Thread twin =
        Thread.ofVirtual()
            .start(() -> {
              begun.countDown();
              first.set(keyed("k-4", "").path("sandboxID").asString());
            });
    begun.await();
    String second = keyed("k-4", "").path("sandboxID").asString();
    assertThat(twin.join(TestDaemon.PATIENCE)).isTrue();
    assertThat(second).as("asked at the same time").isEqualTo(first.get());
  }

  private TestDaemon.Answer sent(String key, String more) {
    return daemon.send(
        control("/v2/sandboxes")
            .header("Idempotency-Key", key)
            .POST(BodyPublishers.ofString("{\"templateID\":\"base\"" + more + "}")));
  }

  private JsonNode keyed(String key, String more) {
    return ok(sent(key, more), 201);
  }

  /** Those who may reach the ports of a sandbox may not therefore reach those of its forks. */
  @Test
  void trafficTokensOfForks() {
    JsonNode made = create(",\"network\":{\"allowPublicTraffic\":false}");
    List<String> tokens = new ArrayList<>();
    tokens.add(made.path("trafficAccessToken").asString());
    JsonNode forks = ok(post(path(made) + "/fork", "{\"count\":2}"), 201);
    forks.forEach(one -> tokens.add(one.path("sandbox").path("trafficAccessToken").asString()));
    assertThat(tokens).hasSize(3).doesNotContain("").doesNotHaveDuplicates();
    JsonNode open = create("");
    assertThat(ok(post(path(open) + "/fork", "{}"), 201).path(0).path("sandbox"))
        .noneMatch(field -> field.has("trafficAccessToken"));
  }

  /** One that is unknown, or paused, does not hide what the others use. */
  @Test
  void metricsOfMany() {
    JsonNode runs = create("");
    JsonNode paused = create("");
    post(path(paused) + "/pause", "");
    String id = runs.path("sandboxID").asString();
    JsonNode told =
        ok(
            get(
                "/sandboxes/metrics?sandbox_ids=i0000000000000000000,"
                    + paused.path("sandboxID").asString()
                    + ","
                    + id),
            200);
    assertThat(told.path("sandboxes").propertyNames()).containsExactly(id);
    assertThat(ok(get("/sandboxes/metrics"), 200).path("sandboxes").isEmpty()).isTrue();
    assertThat(
            ok(get("/v2" + path(runs) + "/logs?direction=backward&cursor=" + Long.MAX_VALUE), 200)
                .path("logs")
                .size())
        .isEqualTo(1);
  }

  /** "Started after" includes the moment itself. */
  @Test
  void startedAtThatMoment() {
    JsonNode made = create("");
    String since = ok(get(path(made)), 200).path("startedAt").asString();
    assertThat(get("/v2/sandboxes?startedAfter=" + since).body())
        .contains(made.path("sandboxID").asString());
    assertThat(get("/v2/sandboxes?startedAfter=" + Instant.parse(since).plusMillis(1)).body())
        .isEqualTo("[]");
  }

  /** Whatever a body or a query has in it, the answer is no defect, and has the known shape. */
  @Test
  void fuzz() {
    Random random = new Random(20_261_125);
    String id = create("").path("sandboxID").asString();
    List<String> fields =
        List.of(
            "templateID",
            "timeout",
            "metadata",
            "envVars",
            "secure",
            "autoPause",
            "duration",
            "autoPauseMemory",
            "autoResume",
            "network",
            "allow_internet_access",
            "volumeMounts",
            "mcp",
            "iam",
            "memory",
            "requireHealthyGuest",
            "count",
            "name",
            "allowOut",
            "denyOut",
            "dnsServers",
            "httpsPorts",
            "rules",
            "egressProxy",
            "maskRequestHost",
            "enabled");
    List<String> routes =
        List.of(
            "POST /v2/sandboxes",
            "POST /sandboxes",
            "GET /v2/sandboxes",
            "GET /sandboxes",
            "GET /sandboxes/ID",
            "POST /sandboxes/ID/timeout",
            "POST /sandboxes/ID/refreshes",
            "POST /sandboxes/ID/pause",
            "POST /v2/sandboxes/ID/connect",
            "POST /sandboxes/ID/connect",
            "POST /sandboxes/ID/resume",
            "POST /sandboxes/ID/fork",
            "PUT /sandboxes/ID/network",
            "POST /sandboxes/ID/snapshots",
            "GET /snapshots",
            "GET /templates",
            "DELETE /templates/ID",
            "GET /templates/aliases/ID",
            "GET /sandboxes/metrics",
            "GET /sandboxes/ID/metrics",
            "GET /sandboxes/ID/logs",
            "GET /v2/sandboxes/ID/logs");
    List<String> queries =
        List.of(
            "metadata",
            "state",
            "startedAfter",
            "template",
            "order",
            "limit",
            "nextToken",
            "name",
            "sandboxID",
            "sandbox_ids",
            "start",
            "end",
            "cursor",
            "direction",
            "level",
            "search");
    for (int i = 0; i < FUZZED_REQUESTS; i++) {
      String[] route = pick(random, routes).split(" ");
      StringBuilder body = new StringBuilder("{\"templateID\":\"base\"");
      for (int field = random.nextInt(4); field > 0; field--) {
        body.append(",\"")
            .append(pick(random, fields))
            .append("\":")
            .append(value(random, fields, 0));
      }
      String sent =
          random.nextInt(20) == 0 ? value(random, fields, 0) : body.append('}').toString();
      StringBuilder query = new StringBuilder("?x=");
      for (int field = random.nextInt(3); field > 0; field--) {
        query
            .append('&')
            .append(pick(random, queries))
            .append('=')
            .append(URLEncoder.encode(value(random, fields, 2), StandardCharsets.UTF_8));
      }
      String named =
          random.nextInt(10) == 0
              ? URLEncoder.encode(value(random, fields, 2), StandardCharsets.UTF_8)
                  .replace("+", "%20")
              : id;
      TestDaemon.Answer answer =
          daemon.send(
              control(route[1].replace("ID", named) + query)
                  .method(route[0], BodyPublishers.ofString(sent)));
      String what = i + ": " + String.join(" ", route) + query + " " + sent + ": " + answer.body();
      assertThat(answer.status()).as(what).isNotIn(500, 499, 504);
      if (answer.status() >= 400) {
        assertThat(JSON.readTree(answer.body()).path("code").asInt())
            .as(what)
            .isEqualTo(answer.status());
      }
      if (i % 100 == 0) {
        sweep(id);
      }
    }
  }

  private void sweep(String but) {
    ok(get("/v2/sandboxes"), 200)
        .findValuesAsString("sandboxID")
        .forEach(id -> {
          if (!id.equals(but)) {
            daemon.send(control("/sandboxes/" + id).DELETE());
          }
        });
    post("/v2/sandboxes/" + but + "/connect", "{}");
  }

  private static <T> T pick(Random random, List<T> from) {
    return from.get(random.nextInt(from.size()));
  }

  private static String value(Random random, List<String> fields, int depth) {
    List<String> plain =
        List.of(
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "2147483648",
            "9300000000000000",
            "1e400",
            "9223372036854775807",
            "92233720368547758080",
            "-9223372036854775808",
            "0.5",
            "\"\"",
            "\"base\"",
            "\"1.1.1.1/8\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"ä/ö:ü\"",
            "\"a:b\"",
            "\"%zz\"",
            "[]",
            "{}",
            "[null]",
            "{\"a\":null}",
            "{\"a\":\"b\"}",
            "{\"enabled\":true}",
            "{\"\":\"\"}",
            "\"" + "x".repeat(300) + "\"",
            "[".repeat(40) + "]".repeat(40));
    return depth > 1 || random.nextBoolean()
        ? pick(random, plain)
        : random.nextBoolean()
            ? "[" + value(random, fields, depth + 1) + "]"
            : "{\"" + pick(random, fields) + "\":" + value(random, fields, depth + 1) + "}";
  }
}
