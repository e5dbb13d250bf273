package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.PingResponse;
import dev.forkd.engine.ChildOutcome;
import dev.forkd.engine.ForkSpec;
import dev.forkd.http.HttpServer;
import dev.forkd.http.ServerConfig;
import dev.forkd.http.rest.RestRoutes;
import dev.forkd.metrics.Meters;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import dev.forkd.testkit.FakeEngine;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * What clients match in answers is the same from the fake engine, which most tests of the interface
 * use, and from real VMs.
 */
@Timeout(300)
class WireSystemTest {
  private static final HttpClient HTTP =
      HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

  private static final JsonMapper JSON = JsonMapper.shared();

  /** Of files in one folder. */
  private static final int NAMES = 100_000;

  @TempDir Path folder;

  @BeforeEach
  void bake() {
    Lab.clean(Lab.engine());
  }

  @AfterEach
  void nothingIsLeft() throws Exception {
    Lab.clean(Lab.engine());
    assertThat(Lab.vmms()).isEmpty();
  }

  /** A daemon, whatever is behind it: a sandbox to use up and a snapshot that is damaged. */
  private record Wire(String url, String token, String sandbox, String damaged) {
    HttpResponse<String> send(String method, String path, String body) {
      try {
        return HTTP.send(
            HttpRequest.newBuilder(URI.create(url + path))
                .timeout(Duration.ofSeconds(150))
                .header("Authorization", "Bearer " + token)
                .header("Content-Type", "application/json")
                .method(method, HttpRequest.BodyPublishers.ofString(body))
                .build(),
            HttpResponse.BodyHandlers.ofString());
      } catch (IOException e) {
        throw new AssertionError(method + " " + path, e);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new AssertionError(e);
      }
    }

    CompletableFuture<HttpResponse<String>> answer(HttpRequest.Builder request) {
      return HTTP.sendAsync(
          request.timeout(Duration.ofMinutes(4)).build(), HttpResponse.BodyHandlers.ofString());
    }

    HttpRequest.Builder listed() {
      return HttpRequest.newBuilder(URI.create(url + inSandbox("files/list") + "?path=/many"))
          .header("Authorization", "Bearer " + token);
    }

    HttpRequest.Builder listedByE2b() {
      return HttpRequest.newBuilder(URI.create(url + "/filesystem.Filesystem/ListDir"))
          .header("E2b-Sandbox-Id", sandbox)
          .header("E2b-Sandbox-Port", "49983")
          .header("X-Access-Token", token)
          .header("Content-Type", "application/json")
          .POST(HttpRequest.BodyPublishers.ofString("{\"path\":\"/many\"}"));
    }

    void says(int status, String words, String method, String path, String body) {
      HttpResponse<String> answer = send(method, path, body);
      assertThat(answer.statusCode()).as(path + " " + answer.body()).isEqualTo(status);
      assertThat(answer.body()).as(path).contains(words);
    }

    String inSandbox(String call) {
      return "/v1/sandboxes/" + sandbox + "/" + call;
    }
  }

  private static void isAsClientsExpect(Wire wire) throws Exception {
    wire.says(404, "nope' not found", "POST", "/v1/sandboxes", "{\"snapshot_tag\":\"nope\"}");
    wire.says(404, "nope' not found", "DELETE", "/v1/snapshots/nope", "");
    wire.says(
        409,
        "is not bootable",
        "POST",
        "/v1/sandboxes",
        "{\"snapshot_tag\":\"" + wire.damaged() + "\"}");
    wire.says(
        200, "\"exit_code\":127", "POST", wire.inSandbox("exec"), "{\"args\":[\"nonesuch\"]}");
    wire.says(
        200,
        "\"exit_code\":127",
        "POST",
        wire.inSandbox("exec/stream"),
        "{\"args\":[\"nonesuch\"]}");
    wire.says(400, "at least one element", "POST", wire.inSandbox("exec"), "{\"args\":[]}");
    wire.says(200, "ZeroDivisionError", "POST", wire.inSandbox("eval"), "{\"code\":\"1/0\"}");
    wire.says(400, "1000", "POST", "/v1/sandboxes", "{\"snapshot_tag\":\"python\",\"n\":0}");
    int quiet = processes(wire);
    CompletableFuture<HttpResponse<String>> running =
        CompletableFuture.supplyAsync(
            () -> wire.send("POST", wire.inSandbox("exec"), "{\"args\":[\"sleep\",\"600\"]}"));
    await().atMost(Lab.PATIENCE).until(() -> processes(wire) > quiet);
    assertThat(running.isDone()).isFalse();
    assertThat(wire.send("DELETE", "/v1/sandboxes/" + wire.sandbox(), "").statusCode())
        .isEqualTo(204);
    HttpResponse<String> killed = running.get(60, TimeUnit.SECONDS);
    assertThat(killed.statusCode()).isEqualTo(503);
    assertThat(killed.body()).contains("was killed");
    wire.says(404, wire.sandbox(), "POST", wire.inSandbox("ping"), "");
  }

  private static int processes(Wire wire) {
    String body = wire.send("POST", wire.inSandbox("ping"), "").body();
    return Json.read(body, PingResponse.class).processes();
  }

  @Test
  void fromTheFake() throws Exception {
    FakeEngine engine = new FakeEngine().withTemplate("python");
    engine.withBrokenTemplate("damaged", "missing vmstate: /data/x");
    SandboxId id =
        ((ChildOutcome.Started)
                engine
                    .fork(
                        new ForkSpec(
                            new Tag("python"),
                            1,
                            OptionalLong.empty(),
                            false,
                            false,
                            false,
                            "emulation"))
                    .getFirst())
            .sandbox()
            .id();
    Meters meters = new Meters("0.1.0");
    try (HttpServer server =
        HttpServer.start(
            new ServerConfig(
                new InetSocketAddress(InetAddress.getLoopbackAddress(), 0),
                Daemon.TOKEN,
                folder.resolve("audit.log"),
                Optional.empty()),
            RestRoutes.router(engine, meters, System::nanoTime, "0.1.0", () -> {}),
            meters,
            InstantSource.system(),
            System::nanoTime)) {
      isAsClientsExpect(new Wire(server.url(), Daemon.TOKEN, id.value(), "damaged"));
    }
  }

  @Test
  void fromRealVms() throws Exception {
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      Sandbox sandbox = forkd.fork("python");
      sandbox.branch("damaged");
      Files.write(Lab.DATA_DIR.resolve("snapshots/damaged/devices.bin"), new byte[] {1, 2, 3});
      isAsClientsExpect(new Wire(daemon.url(), Daemon.TOKEN, sandbox.id(), "damaged"));
      forkd.snapshot("damaged").delete();
    }
  }

  /**
   * Guests that write and answer without end cannot take the daemon's memory, however many do so at
   * once: with a small heap it goes on, and each client hears that its output was cut.
   */
  @Test
  void guestsCannotTakeTheHeap() throws Exception {
    try (Daemon daemon = Daemon.start(List.of("-Xmx96m", "-XX:+ExitOnOutOfMemoryError"));
        Forkd forkd = daemon.client()) {
      Sandbox sandbox = forkd.fork("python");
      Wire wire = new Wire(daemon.url(), Daemon.TOKEN, sandbox.id(), "");
      List<CompletableFuture<HttpResponse<String>>> all = new ArrayList<>();
      for (int i = 0; i < 6; i++) {
        all.add(
            CompletableFuture.supplyAsync(() ->
                wire.send(
                    "POST",
                    wire.inSandbox("exec"),
                    "{\"args\":[\"head\",\"-c\",\"40M\",\"/dev/zero\"],\"timeout_secs\":60}")));
        all.add(
            CompletableFuture.supplyAsync(() ->
                wire.send("POST", wire.inSandbox("eval"), "{\"code\":\"'\\\\x01' * 500000\"}")));
      }
      for (CompletableFuture<HttpResponse<String>> one : all) {
        HttpResponse<String> answer = one.get(200, TimeUnit.SECONDS);
        assertThat(answer.statusCode()).as(answer.body()).isIn(200, 503);
      }
      assertThat(all)
          .extracting(one -> one.join().body())
          .anyMatch(body -> body.contains("\"truncated\":true"));
      assertThat(sandbox.eval("1 + 1").result()).contains("2");
    }
  }

  /**
   * Nor can their folders, however many large ones are listed at once: each list arrives whole, and
   * meanwhile others are served.
   */
  @Test
  @Timeout(300)
  void foldersCannotTakeTheHeap() throws Exception {
    try (Daemon daemon = Daemon.start(List.of("-Xmx96m", "-XX:+ExitOnOutOfMemoryError"));
        Forkd forkd = daemon.client()) {
      Sandbox large = forkd.fork("python");
      Sandbox other = forkd.fork("python");
      // Two files by many names: inodes would take longer, and there are not so many.
      String make =
          """
          import os
          os.mkdir('/many')
          for i in range(2): open('/many/%d' % i, 'w').close()
          for i in range(2, NAMES): os.link('/many/%d' % (i % 2), '/many/a-name-of-some-length-%06d' % i)
          len(os.listdir('/many'))
          """;
      assertThat(large.eval(make.replace("NAMES", "" + NAMES), Duration.ofMinutes(3)).result())
          .contains("" + NAMES);
      Wire wire = new Wire(daemon.url(), Daemon.TOKEN, large.id(), "");
      List<CompletableFuture<HttpResponse<String>>> all =
          List.of(
              wire.answer(wire.listed()),
              wire.answer(wire.listed()),
              wire.answer(wire.listedByE2b()));
      while (!CompletableFuture.allOf(all.toArray(CompletableFuture[]::new)).isDone()) {
        assertThat(other.eval("1 + 1").result()).contains("2");
        Thread.sleep(500);
      }
      for (CompletableFuture<HttpResponse<String>> one : all) {
        HttpResponse<String> answer = one.join();
        assertThat(answer.statusCode()).isEqualTo(200);
        JsonNode list = JSON.readTree(answer.body());
        assertThat(list.isArray() ? list : list.path("entries")).hasSize(NAMES);
      }
    }
  }
}
