package dev.forkd.http;

import dev.forkd.api.rest.ErrorBody;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.http.e2b.E2bApi;
import dev.forkd.http.proxy.Gateway;
import dev.forkd.http.rest.RestRoutes;
import dev.forkd.metrics.Meters;
import dev.forkd.testkit.FakeEngine;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;

/** The real server on a free port over a {@link FakeEngine}, and a client that hides nothing. */
public final class TestDaemon implements AutoCloseable {
  public static final String TOKEN = "test-token-0123456789";

  /**
   * For what must happen, however busy the machine is; what happens sooner costs none of it. Less
   * than {@link Limits#CLIENT_PATIENCE}, by which some of it would happen all the same.
   */
  public static final Duration PATIENCE = Duration.ofSeconds(40);

  final FakeEngine engine;
  final Path auditLog;
  final AtomicInteger shutdowns = new AtomicInteger();
  private final Meters meters = new Meters("0.1.0");
  private final HttpServer server;
  private final HttpClient client =
      HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

  TestDaemon(FakeEngine engine, Path folder) {
    this(engine, folder, Optional.empty());
  }

  TestDaemon(FakeEngine engine, Path folder, Optional<ServerConfig.TlsFiles> tls) {
    this(engine, folder, tls, Limits.CLIENT_PATIENCE);
  }

  TestDaemon(
      FakeEngine engine, Path folder, Optional<ServerConfig.TlsFiles> tls, Duration patience) {
    this(engine, folder, tls, patience, Limits.KEEP_ALIVE, Limits.CONNECTIONS_MAX);
  }

  TestDaemon(
      FakeEngine engine,
      Path folder,
      Optional<ServerConfig.TlsFiles> tls,
      Duration patience,
      Duration keepAlive,
      int connectionsMax) {
    this.engine = engine;
    this.auditLog = folder.resolve("logs/audit.log");
    this.server =
        HttpServer.start(
            new ServerConfig(
                new InetSocketAddress(InetAddress.getLoopbackAddress(), 0),
                TOKEN,
                auditLog,
                tls,
                patience,
                keepAlive,
                connectionsMax),
            RestRoutes.router(
                engine, meters, System::nanoTime, "0.1.0", shutdowns::incrementAndGet),
            List.of(
                new Gateway(engine, TOKEN, InstantSource.system()),
                new E2bApi(engine, TOKEN, Optional.empty(), InstantSource.system())),
            meters,
            InstantSource.system(),
            System::nanoTime);
  }

  String url() {
    return server.url();
  }

  int port() {
    return server.port();
  }

  HttpServer server() {
    return server;
  }

  /** An answer, with its body as text. */
  record Answer(int status, String body, HttpResponse<byte[]> response) {
    String header(String name) {
      return response.headers().firstValue(name).orElse("");
    }

    ErrorBody error() {
      return Json.read(body, ErrorBody.class);
    }

    <T> T as(Class<T> type) {
      return Json.read(response.body(), type);
    }
  }

  Answer get(String path) {
    return send(request(path).GET());
  }

  Answer delete(String path) {
    return send(request(path).DELETE());
  }

  Answer post(String path, String json) {
    return send(
        request(path)
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(json)));
  }

  Answer put(String path, String json) {
    return send(
        request(path)
            .header("Content-Type", "application/json")
            .PUT(HttpRequest.BodyPublishers.ofString(json)));
  }

  Answer post(String path) {
    return send(request(path).POST(HttpRequest.BodyPublishers.noBody()));
  }

  HttpRequest.Builder request(String path) {
    return open(path).header("Authorization", "Bearer " + TOKEN);
  }

  /** A request without a token. */
  HttpRequest.Builder open(String path) {
    return HttpRequest.newBuilder(URI.create(url() + path)).timeout(PATIENCE);
  }

  Answer send(HttpRequest.Builder builder) {
    try {
      HttpResponse<byte[]> response =
          client.send(builder.build(), HttpResponse.BodyHandlers.ofByteArray());
      return new Answer(
          response.statusCode(), new String(response.body(), StandardCharsets.UTF_8), response);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
  }

  /** Forks one child and gives its id. */
  String child(String tag) {
    Answer answer = post("/v1/sandboxes", "{\"snapshot_tag\":\"" + tag + "\"}");
    return Json.readList(answer.response().body(), SandboxInfo.class).getFirst().id();
  }

  @Override
  public void close() {
    client.shutdownNow();
    server.close();
    meters.close();
  }
}
