package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.http.TestDaemon.Answer;
import dev.forkd.testkit.FakeEngine;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Whatever is sent, the answer is the right refusal as JSON with a reason and a request id, nothing
 * is made, and the daemon serves on.
 */
class BadInputTest {
  @TempDir Path folder;
  private TestDaemon daemon;
  private String id;

  @BeforeEach
  void start() {
    daemon = new TestDaemon(new FakeEngine(2).withTemplate("python"), folder);
    id = daemon.child("python");
  }

  @AfterEach
  void stop() {
    assertThat(daemon.get("/healthz").status()).isEqualTo(200);
    daemon.close();
  }

  private static Answer refused(Answer answer, int status) {
    assertThat(answer.status()).as(answer.body()).isEqualTo(status);
    assertThat(answer.header("content-type")).isEqualTo("application/json");
    assertThat(answer.header("x-request-id")).isNotEmpty();
    assertThat(answer.error().error()).isNotBlank();
    assertThat(answer.error().code()).isPresent();
    return answer;
  }

  private Answer exec(String body) {
    return daemon.post("/v1/sandboxes/" + id + "/exec", body);
  }

  private Answer branch(String body) {
    return daemon.post("/v1/sandboxes/" + id + "/branch", body);
  }

  @Test
  void whatDoesNotExistIs404() {
    assertThat(refused(daemon.post("/v1/sandboxes", "{\"snapshot_tag\":\"nope\"}"), 404).body())
        .contains("nope", "not found");
    refused(daemon.get("/v1/snapshots/nope"), 404);
    refused(daemon.get("/v1/snapshots/nope/info"), 404);
    refused(daemon.post("/v1/snapshots/nope/compact", "{\"to\":\"x\"}"), 404);
    refused(daemon.delete("/v1/snapshots/nope"), 404);
    for (String unknown : List.of("sbnope", "SB-1", "a.b", "x".repeat(500), "%2e%2e")) {
      refused(daemon.get("/v1/sandboxes/" + unknown), 404);
      refused(daemon.delete("/v1/sandboxes/" + unknown), 404);
      refused(daemon.post("/v1/sandboxes/" + unknown + "/ping"), 404);
      refused(daemon.post("/v1/sandboxes/" + unknown + "/exec", "{\"args\":[\"true\"]}"), 404);
      refused(daemon.post("/v1/sandboxes/" + unknown + "/eval", "{\"code\":\"1\"}"), 404);
      refused(daemon.post("/v1/sandboxes/" + unknown + "/branch", "{}"), 404);
      refused(daemon.get("/v1/sandboxes/" + unknown + "/files?path=/x"), 404);
    }
    for (String path : List.of("/", "/v1", "/v1/", "/v2/none", "/healthz/", "/v1/sandboxes/")) {
      refused(daemon.get(path), 404);
    }
    refused(daemon.post("/v1/sandboxes/" + id + "/exec/none/signal", "{\"signal\":9}"), 404);
  }

  @ParameterizedTest
  @ValueSource(strings = {"../../etc", "", "a b", "a/b", "a.b", "ä", "..", "a\\u0000", "a\\n"})
  void anUnsafeTagIs400(String tag) {
    refused(daemon.post("/v1/sandboxes", "{\"snapshot_tag\":\"" + tag + "\"}"), 400);
    assertThat(refused(branch("{\"tag\":\"" + tag + "\"}"), 400).body())
        .contains("must be 1-64 chars");
    refused(daemon.post("/v1/templates", "{\"tag\":\"" + tag + "\",\"packages\":[]}"), 400);
    refused(
        daemon.post(
            "/v1/snapshots",
            "{\"tag\":\"" + tag + "\",\"kernel\":\"/bin/sh\",\"rootfs\":\"/bin/sh\"}"),
        400);
    refused(daemon.post("/v1/snapshots/python/compact", "{\"to\":\"" + tag + "\"}"), 400);
  }

  @Test
  void aTagOfTheWrongLengthIs400() {
    refused(daemon.post("/v1/sandboxes", "{\"snapshot_tag\":\"" + "a".repeat(65) + "\"}"), 400);
    refused(daemon.get("/v1/snapshots/" + "a".repeat(65)), 400);
    refused(daemon.delete("/v1/snapshots/%2e%2e%2fetc"), 400);
    refused(daemon.get("/v1/snapshots/%2e%2e%2fetc/info"), 400);
    refused(daemon.post("/v1/snapshots/%2e%2e/compact", "{\"to\":\"x\"}"), 400);
    refused(daemon.post("/v1/snapshots/python/compact", "{\"to\":\"python\"}"), 400);
    refused(daemon.post("/v1/snapshots/python/compact", "{}"), 422);
    assertThat(branch("{\"tag\":\"taken\"}").status()).isEqualTo(201);
    refused(daemon.post("/v1/snapshots/python/compact", "{\"to\":\"taken\"}"), 409);
    refused(daemon.post("/v1/snapshots/nope/compact", "{\"to\":\"taken\"}"), 409);
    refused(daemon.delete("/v1/snapshots/a%2fb"), 400);
    assertThat(branch("{\"tag\":\"" + "a".repeat(64) + "\"}").status()).isEqualTo(201);
  }

  @ParameterizedTest
  @CsvSource({"0", "1001", "-1", "9223372036854775807"})
  void aCountOutOfBoundsIs400(String n) {
    refused(daemon.post("/v1/sandboxes", "{\"snapshot_tag\":\"python\",\"n\":" + n + "}"), 400);
    assertThat(daemon.engine.counts()).containsEntry("sandboxes", 1);
  }

  @Test
  void otherForkWishesAreChecked() {
    String body = "{\"snapshot_tag\":\"python\",%s}";
    refused(daemon.post("/v1/sandboxes", body.formatted("\"memory_limit_mib\":0")), 400);
    refused(daemon.post("/v1/sandboxes", body.formatted("\"min_isolation\":\"jail\"")), 400);
    refused(daemon.post("/v1/sandboxes", body.formatted("\"per_child_netns\":true")), 501);
    refused(daemon.post("/v1/sandboxes", body.formatted("\"n\":\"3\"")), 422);
    refused(daemon.post("/v1/sandboxes", body.formatted("\"n\":1.5")), 422);
    refused(daemon.post("/v1/sandboxes", body.formatted("\"prewarm\":\"yes\"")), 422);
    refused(daemon.post("/v1/sandboxes", "{\"n\":1}"), 422);
    assertThat(daemon.engine.counts()).containsEntry("sandboxes", 1);
  }

  @Test
  void bodiesThatAreNoMessageAreToldApart() {
    String path = "/v1/sandboxes/" + id + "/exec";
    refused(daemon.post(path, "{"), 400);
    refused(daemon.post(path, ""), 400);
    refused(daemon.post(path, "args=true"), 400);
    refused(daemon.post(path, "{\"args\":[\"true\"]} x"), 400);
    refused(daemon.post(path, "[".repeat(20_000)), 400);
    refused(daemon.post(path, "[]"), 422);
    refused(daemon.post(path, "null"), 422);
    refused(daemon.post(path, "{}"), 422);
    refused(daemon.post(path, "{\"args\":\"true\"}"), 422);
    refused(daemon.post(path, "{\"args\":[1]}"), 422);
    refused(daemon.post(path), 415);
    refused(
        daemon.send(
            daemon
                .request(path)
                .header("Content-Type", "text/plain")
                .POST(BodyPublishers.ofString("{\"args\":[\"true\"]}"))),
        415);
    assertThat(
            daemon
                .send(
                    daemon
                        .request(path)
                        .header("Content-Type", "Application/JSON; charset=utf-8")
                        .POST(BodyPublishers.ofString("{\"args\":[\"true\"]}")))
                .status())
        .isEqualTo(200);
    refused(
        daemon.send(
            daemon
                .request(path)
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofByteArray(new byte[] {(byte) 0xff, (byte) 0xfe, '{'}))),
        400);
    refused(daemon.post("/v1/sandboxes/" + id + "/branch"), 415);
  }

  @Test
  void aBodyThatIsTooLargeIs413HoweverItIsSent() {
    String path = "/v1/sandboxes/" + id + "/eval";
    String large = "{\"code\":\"" + "x".repeat(Limits.JSON_BYTES_MAX) + "\"}";
    refused(daemon.post(path, large), 413);
    byte[] bytes = large.getBytes(StandardCharsets.UTF_8);
    refused(
        daemon.send(
            daemon
                .request(path)
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofInputStream(() -> new java.io.ByteArrayInputStream(bytes)))),
        413);
    String fits = "{\"code\":\"" + "x".repeat(Limits.JSON_BYTES_MAX - 20) + "\"}";
    assertThat(daemon.post(path, fits).status()).isEqualTo(200);
  }

  @Test
  void aWrongMethodIs405AndNamesTheRightOnes() {
    Answer answer = refused(daemon.send(daemon.request("/v1/snapshots").DELETE()), 405);
    assertThat(answer.header("allow")).isEqualTo("GET, POST");
    refused(daemon.post("/healthz"), 405);
    refused(daemon.get("/v1/sandboxes/" + id + "/exec"), 405);
    refused(
        daemon.send(daemon.request("/v1/sandboxes").method("BREW", BodyPublishers.noBody())), 405);
  }

  @Test
  void execIsCheckedBeforeItReachesTheGuest() {
    assertThat(refused(exec("{\"args\":[]}"), 400).body())
        .contains("args must contain at least one element");
    refused(exec("{\"args\":[\"\"]}"), 400);
    refused(exec("{\"args\":[\"echo\",\"a\\u0000b\"]}"), 400);
    refused(exec("{\"args\":[\"true\"],\"timeout_secs\":0}"), 400);
    refused(exec("{\"args\":[\"true\"],\"timeout_secs\":86401}"), 400);
    refused(exec("{\"args\":[\"true\"],\"timeout_secs\":-1}"), 400);
    refused(exec("{\"args\":[\"true\"],\"env\":{\"A=B\":\"x\"}}"), 400);
    refused(exec("{\"args\":[\"true\"],\"env\":{\"\":\"x\"}}"), 400);
    refused(exec("{\"args\":[\"true\"],\"cwd\":\"relative\"}"), 400);
    refused(exec("{\"args\":[\"true\"],\"user\":\"\"}"), 400);
    refused(exec("{\"args\":[\"cat\"],\"stdin_base64\":\"*\"}"), 400);
    refused(exec("{\"args\":[\"cat\"],\"stdin\":\"a\",\"stdin_base64\":\"aGk=\"}"), 400);
    refused(daemon.post("/v1/sandboxes/" + id + "/exec/stream", "{\"args\":[]}"), 400);
    refused(
        daemon.post("/v1/sandboxes/" + id + "/eval", "{\"code\":\"1\",\"timeout_secs\":0}"), 400);
    refused(daemon.post("/v1/sandboxes/" + id + "/eval", "{}"), 422);
    assertThat(daemon.engine.liveProcesses()).isZero();
  }

  @Test
  void filePathsAreChecked() {
    String files = "/v1/sandboxes/" + id + "/files";
    refused(daemon.get(files), 400);
    refused(daemon.get(files + "?path=relative"), 400);
    refused(daemon.get(files + "?path=/a%00b"), 400);
    refused(daemon.get(files + "?path=/" + "a".repeat(5000)), 400);
    refused(daemon.get(files + "?path=/none"), 404);
    refused(daemon.get(files + "/stat?path=/none"), 404);
    refused(daemon.get(files + "/list?path=/none"), 404);
    refused(daemon.delete(files + "?path=/none"), 404);
    refused(daemon.get(files + "?path=/"), 409);
    refused(
        daemon.send(daemon.request(files + "?path=/x&mode=rw").PUT(BodyPublishers.ofString("x"))),
        400);
    refused(daemon.post(files + "/mkdir", "{\"path\":\"x\"}"), 400);
    refused(daemon.post(files + "/move", "{\"from\":\"/x\",\"to\":\"y\"}"), 400);
  }

  @Test
  void templatesAreCheckedBeforeAnythingIsBuilt() {
    String body = "{\"tag\":\"t\",%s}";
    refused(daemon.post("/v1/templates", "{\"tag\":\"t\"}"), 400);
    for (String wrong :
        List.of(
            "\"packages\":[],\"rootfs\":\"/x\"",
            "\"packages\":[\"-o Dpkg::Pre-Invoke=x\"]",
            "\"packages\":[\"Python\"]",
            "\"packages\":[\"a,b\"]",
            "\"rootfs\":\"/no/such/file\"",
            "\"oci_layout\":\"relative\"",
            "\"packages\":[],\"memory_mib\":127",
            "\"packages\":[],\"memory_mib\":65537",
            "\"packages\":[],\"disk_mib\":1",
            "\"packages\":[],\"boot_timeout_secs\":601",
            "\"packages\":[],\"kernel\":\"/no/such/kernel\"",
            "\"packages\":[],\"run\":[\"a\\u0000\"]")) {
      refused(daemon.post("/v1/templates", body.formatted(wrong)), 400);
    }
    refused(daemon.post("/v1/templates", body.formatted("\"packages\":[null]")), 422);
    refused(daemon.post("/v1/templates", body.formatted("\"packages\":\"x\"")), 422);
    assertThat(daemon.engine.counts()).containsEntry("snapshots", 1);
  }

  /** Tag, capacity, the same tag under way, modes, tag taken, sandbox, parent: in this order. */
  @Test
  void branchChecksComeInTheOrderThatClientsKnow() throws Exception {
    String other = "/v1/sandboxes/sbnone/branch";
    refused(daemon.post(other, "{\"tag\":\"../x\",\"diff\":true,\"measure_diff\":true}"), 400);
    assertThat(branch("{\"tag\":\"taken\"}").status()).isEqualTo(201);
    refused(daemon.post(other, "{\"tag\":\"taken\",\"diff\":true,\"measure_diff\":true}"), 400);
    refused(daemon.post(other, "{\"tag\":\"taken\"}"), 409);
    refused(daemon.post(other, "{\"tag\":\"free\",\"parent_tag\":\"nope\"}"), 404);
    refused(branch("{\"mode\":\"diff\",\"diff\":true}"), 400);
    refused(branch("{\"mode\":\"full\",\"live\":true}"), 400);
    refused(branch("{\"wait\":false}"), 400);
    refused(branch("{\"diff\":true,\"parent_tag\":\"other\"}"), 400);
    refused(branch("{\"parent_tag\":\"python\"}"), 400);
    refused(branch("{\"mode\":\"turbo\"}"), 422);
    refused(branch("{\"mode\":\"diff\",\"wait\":false}"), 400);
    assertThat(branch("{\"live\":true}").status()).isEqualTo(201);
    assertThat(branch("{\"mode\":\"live\",\"wait\":false}").status()).isEqualTo(202);
    assertThat(daemon.engine.counts()).containsEntry("snapshots", 4);

    CountDownLatch inside = new CountDownLatch(2);
    CountDownLatch goOn = new CountDownLatch(1);
    daemon.engine.duringBranch(() -> {
      inside.countDown();
      awaitLatch(goOn);
    });
    try {
      CompletableFuture<Answer> first =
          CompletableFuture.supplyAsync(() -> branch("{\"tag\":\"slow1\"}"));
      await().atMost(TestDaemon.PATIENCE).until(() -> inside.getCount() == 1);
      assertThat(refused(branch("{\"tag\":\"slow1\"}"), 409).body()).contains("under way");
      CompletableFuture<Answer> second =
          CompletableFuture.supplyAsync(() -> branch("{\"tag\":\"slow2\"}"));
      assertThat(inside.await(40, TimeUnit.SECONDS)).isTrue();
      Answer full = refused(branch("{\"tag\":\"slow1\",\"diff\":true,\"live\":true}"), 503);
      assertThat(full.error().error()).contains("2 branches", "--branch-concurrency");
      assertThat(full.error().code()).contains("resource_exhausted");
      assertThat(daemon.get("/metrics").body()).contains("forkd_branches_in_flight 2\n");
      goOn.countDown();
      assertThat(first.get(40, TimeUnit.SECONDS).status()).isEqualTo(201);
      assertThat(second.get(40, TimeUnit.SECONDS).status()).isEqualTo(201);
    } finally {
      goOn.countDown();
    }
    // The slots are free again, after failures as well.
    assertThat(branch("{\"tag\":\"after\"}").status()).isEqualTo(201);
    daemon.engine.failNext(new ForkdException(ErrorCode.RESOURCE_EXHAUSTED, "no space on /data"));
    refused(branch("{\"tag\":\"full\"}"), 503);
    assertThat(branch("{\"tag\":\"full\"}").status()).isEqualTo(201);
  }

  private static void awaitLatch(CountDownLatch latch) {
    try {
      assertThat(latch.await(40, TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Test
  void killDuringExecAnswersBoth() throws Exception {
    CompletableFuture<Answer> running =
        CompletableFuture.supplyAsync(() -> exec("{\"args\":[\"sleep\",\"600\"]}"));
    await().atMost(TestDaemon.PATIENCE).until(() -> daemon.engine.liveProcesses() == 1);
    assertThat(daemon.delete("/v1/sandboxes/" + id).status()).isEqualTo(204);
    Answer answer = refused(running.get(40, TimeUnit.SECONDS), 503);
    assertThat(answer.error().error()).contains("was killed");
  }

  /** Every code of the engine has one status, in one place. */
  @Test
  void everyErrorCodeHasItsStatus() {
    Map<ErrorCode, Integer> statuses =
        Map.ofEntries(
            Map.entry(ErrorCode.INVALID_ARGUMENT, 400),
            Map.entry(ErrorCode.UNAUTHENTICATED, 401),
            Map.entry(ErrorCode.PERMISSION_DENIED, 403),
            Map.entry(ErrorCode.NOT_FOUND, 404),
            Map.entry(ErrorCode.ALREADY_EXISTS, 409),
            Map.entry(ErrorCode.FAILED_PRECONDITION, 409),
            Map.entry(ErrorCode.ABORTED, 409),
            Map.entry(ErrorCode.RESOURCE_EXHAUSTED, 503),
            Map.entry(ErrorCode.DEADLINE_EXCEEDED, 504),
            Map.entry(ErrorCode.CANCELLED, 499),
            Map.entry(ErrorCode.UNAVAILABLE, 503),
            Map.entry(ErrorCode.UNIMPLEMENTED, 501),
            Map.entry(ErrorCode.DATA_LOSS, 500),
            Map.entry(ErrorCode.INTERNAL, 500));
    assertThat(statuses).containsOnlyKeys(ErrorCode.values());
    statuses.forEach((code, status) -> {
      daemon.engine.failNext(new ForkdException(code, "told: " + code));
      Answer answer = refused(daemon.get("/v1/sandboxes"), status);
      assertThat(answer.error().error()).isEqualTo("told: " + code);
      assertThat(answer.error().code()).contains(code.wireName());
    });
  }

  /** Random bodies on every route that takes one: never a defect, never a hang. */
  @Test
  void noBodyIsADefect() {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    List<String> paths =
        List.of(
            "/v1/sandboxes",
            "/v1/snapshots",
            "/v1/templates",
            "/v1/sandboxes/" + id + "/exec",
            "/v1/sandboxes/" + id + "/exec/stream",
            "/v1/sandboxes/" + id + "/eval",
            "/v1/sandboxes/" + id + "/branch",
            "/v1/sandboxes/" + id + "/files/mkdir",
            "/v1/sandboxes/" + id + "/files/move");
    for (int i = 0; i < 1500; i++) {
      String path = paths.get(random.nextInt(paths.size()));
      String body = RandomJson.body(random);
      Answer answer =
          daemon.send(
              daemon
                  .request(path)
                  .timeout(TestDaemon.PATIENCE)
                  .header("Content-Type", "application/json")
                  .POST(BodyPublishers.ofString(body)));
      assertThat(answer.status())
          .as("seed %d, step %d: POST %s %s -> %s", seed, i, path, body, answer.body())
          .isNotEqualTo(500);
      if (answer.status() >= 400) {
        refused(answer, answer.status());
      }
    }
  }

  /** Bodies near enough to right ones to get past the first check. */
  private static final class RandomJson {
    private static final List<String> NAMES =
        List.of(
            "args",
            "code",
            "tag",
            "snapshot_tag",
            "n",
            "timeout_secs",
            "env",
            "cwd",
            "stdin",
            "stdin_base64",
            "background",
            "packages",
            "run",
            "warm",
            "rootfs",
            "kernel",
            "mode",
            "diff",
            "parent_tag",
            "wait",
            "path",
            "from",
            "to",
            "memory_limit_mib",
            "prewarm",
            "interactive",
            "user",
            "partial",
            "memory_mib",
            "boot_wait_secs",
            "tap");
    private static final List<String> TEXTS =
        List.of(
            "", "true", "python", "echo", "/x", "..", "\\u0000", "\\ud800", "ä", "full", "diff",
            "aGk=", "/bin/sh", "1/0");

    static String body(Random random) {
      String body = object(random, 0);
      if (random.nextInt(4) == 0 && !body.isEmpty()) {
        int at = random.nextInt(body.length());
        return body.substring(0, at)
            + (char) (32 + random.nextInt(90))
            + body.substring(Math.min(body.length(), at + random.nextInt(3)));
      }
      return body;
    }

    private static String object(Random random, int depth) {
      List<String> fields = new ArrayList<>();
      for (int i = random.nextInt(6); i >= 0; i--) {
        fields.add(
            "\"" + NAMES.get(random.nextInt(NAMES.size())) + "\":" + value(random, depth + 1));
      }
      return "{" + String.join(",", fields) + "}";
    }

    private static String value(Random random, int depth) {
      return switch (random.nextInt(depth > 3 ? 6 : 9)) {
        case 0 -> "null";
        case 1 -> Boolean.toString(random.nextBoolean());
        case 2 -> Long.toString(random.nextInt(5) - 1L);
        case 3 -> random.nextBoolean() ? "1e999" : "-0.5";
        case 4 -> Long.toString(random.nextLong());
        case 5 -> "\"" + TEXTS.get(random.nextInt(TEXTS.size())) + "\"";
        case 6 -> object(random, depth);
        default -> {
          List<String> elements = new ArrayList<>();
          for (int i = random.nextInt(3); i > 0; i--) {
            elements.add(value(random, depth + 1));
          }
          yield "[" + String.join(",", elements) + "]";
        }
      };
    }
  }
}
