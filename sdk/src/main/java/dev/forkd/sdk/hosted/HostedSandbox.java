package dev.forkd.sdk.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import tools.jackson.databind.JsonNode;

/**
 * A sandbox that keeps its id for life, has an end, can be paused and resumed, and whose commands
 * outlive the connections they were started from. Closing it kills it. Any thread may use it.
 *
 * <pre>{@code
 * try (Forkd forkd = Forkd.connect();
 *     HostedSandbox sandbox = HostedSandbox.create(forkd, "code-interpreter-v1")) {
 *   System.out.println(sandbox.commands().run("uname -a").stdout());
 *   System.out.println(sandbox.runCode("sum(range(10))").text().orElseThrow());
 *   List<HostedSandbox> forks = sandbox.fork(3);
 * }
 * }</pre>
 */
public final class HostedSandbox implements AutoCloseable {
  private static final int INTERPRETER_PORT = 49999;
  private static final Duration DEFAULT_CODE_LIMIT = Duration.ofMinutes(5);

  private final Forkd forkd;
  private final Wire wire;
  private final Wire.Access access;

  private HostedSandbox(Forkd forkd, Wire wire, JsonNode made) {
    this.forkd = forkd;
    this.wire = wire;
    this.access =
        new Wire.Access(
            made.path("sandboxID").asString(""),
            made.has("envdAccessToken")
                ? Optional.of(made.path("envdAccessToken").asString(""))
                : Optional.empty());
  }

  /** Hosts a sandbox for five minutes. */
  public static HostedSandbox create(Forkd forkd, String template) {
    return create(forkd, template, HostOptions.DEFAULT);
  }

  /**
   * Hosts a sandbox.
   *
   * @param template a template's or a snapshot's name; one that forkd knows is made when missing
   */
  public static HostedSandbox create(Forkd forkd, String template, HostOptions options) {
    Wire wire = wire(forkd);
    return new HostedSandbox(
        forkd, wire, wire.control("POST", "/v2/sandboxes", options.wire(template)));
  }

  /** The one of this id, resumed if it is paused, with at least so long to live. */
  public static HostedSandbox connect(Forkd forkd, String id, Duration timeout) {
    Wire wire = wire(forkd);
    return new HostedSandbox(
        forkd,
        wire,
        wire.control(
            "POST", "/v2/sandboxes/" + id + "/connect", Map.of("timeout", timeout.toSeconds())));
  }

  private static Wire wire(Forkd forkd) {
    return new Wire(forkd.httpClient(), forkd.url(), forkd.e2bApiKey());
  }

  public String id() {
    return access.id();
  }

  public HostedCommands commands() {
    return new HostedCommands(wire, access);
  }

  public HostedFiles files() {
    return new HostedFiles(wire, access);
  }

  public HostedPty pty() {
    return new HostedPty(commands());
  }

  public HostedPorts ports() {
    return new HostedPorts(forkd, wire, access);
  }

  /** When it ends, or, of a paused one, when it was paused. */
  public Instant end() {
    return Instant.parse(
        wire.control("GET", "/sandboxes/" + id(), Map.of()).path("endAt").asString(""));
  }

  public boolean paused() {
    return wire.control("GET", "/sandboxes/" + id(), Map.of())
        .path("state")
        .asString("")
        .equals("paused");
  }

  /** It ends so long from now. */
  public void timeout(Duration timeout) {
    wire.control("POST", "/sandboxes/" + id() + "/timeout", Map.of("timeout", timeout.toSeconds()));
  }

  /** Saves its memory and disk and lets its VM go; {@link #resume} takes it up again. */
  public void pause() {
    wire.control("POST", "/sandboxes/" + id() + "/pause", Map.of());
  }

  /** Saves its disk alone: it is booted from it when it is resumed. */
  public void pauseDisk() {
    wire.control("POST", "/sandboxes/" + id() + "/pause", Map.of("memory", false));
  }

  /** Makes sure that it runs, for so long at least. */
  public void resume(Duration timeout) {
    wire.control(
        "POST", "/v2/sandboxes/" + id() + "/connect", Map.of("timeout", timeout.toSeconds()));
  }

  /**
   * More of it, from this moment on; it goes on itself.
   *
   * @param count 1 to 100
   * @throws ForkdApiException the first failure, when one cannot be made; the others are ended
   */
  public List<HostedSandbox> fork(int count) {
    JsonNode made =
        wire.control(
            "POST",
            "/sandboxes/" + id() + "/fork",
            Map.of("count", count, "timeout", HostOptions.DEFAULT.timeout().toSeconds()));
    List<HostedSandbox> forks = new ArrayList<>();
    Optional<ForkdApiException> failure = Optional.empty();
    for (JsonNode one : made) {
      if (one.has("sandbox")) {
        forks.add(new HostedSandbox(forkd, wire, one.path("sandbox")));
      } else {
        int status = one.path("error").path("code").asInt(500);
        failure =
            Optional.of(
                new ForkdApiException(
                    ErrorCode.fromHttpStatus(status),
                    status,
                    "",
                    one.path("error").path("message").asString("a fork failed"),
                    null));
      }
    }
    if (failure.isPresent()) {
      forks.forEach(HostedSandbox::close);
      throw failure.get();
    }
    return forks;
  }

  /** Saves it while it lives on; {@link #create} makes more from what is returned. */
  public String snapshot() {
    return wire.control("POST", "/sandboxes/" + id() + "/snapshots", Map.of())
        .path("snapshotID")
        .asString("");
  }

  /** Runs Python in its interpreter; what it raises is in the answer. */
  public CodeRun runCode(String code) {
    return runCode(code, "python", _ -> {});
  }

  /**
   * Runs code in its interpreter; state stays from run to run.
   *
   * @param language {@code python}, {@code javascript}, {@code bash} or {@code java}
   * @param listener hears what it prints, as it comes
   */
  public CodeRun runCode(String code, String language, Consumer<Output> listener) {
    HttpRequest.Builder request =
        wire.toPort(access.id(), INTERPRETER_PORT, "/execute")
            .timeout(DEFAULT_CODE_LIMIT)
            .header("Content-Type", "application/json")
            .POST(
                BodyPublishers.ofByteArray(Wire.json(Map.of("code", code, "language", language))));
    access.authorize(request, Optional.empty());
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(wire.stream(request.build()), StandardCharsets.UTF_8))) {
      return collect(lines, listener);
    } catch (IOException e) {
      throw wire.unreachable(e);
    }
  }

  private static CodeRun collect(BufferedReader lines, Consumer<Output> listener)
      throws IOException {
    StringBuilder stdout = new StringBuilder();
    StringBuilder stderr = new StringBuilder();
    List<CodeRun.Shown> results = new ArrayList<>();
    Optional<CodeRun.Raised> error = Optional.empty();
    Optional<String> text = Optional.empty();
    int count = 0;
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonNode event = Wire.parse(line.getBytes(StandardCharsets.UTF_8));
      String said = event.path("text").asString("");
      switch (event.path("type").asString("")) {
        case "stdout" -> {
          stdout.append(said);
          listener.accept(new Output.Stdout(said.getBytes(StandardCharsets.UTF_8)));
        }
        case "stderr" -> {
          stderr.append(said);
          listener.accept(new Output.Stderr(said.getBytes(StandardCharsets.UTF_8)));
        }
        case "number_of_executions" -> count = event.path("execution_count").asInt(0);
        case "error" ->
            error =
                Optional.of(
                    new CodeRun.Raised(
                        event.path("name").asString(""),
                        event.path("value").asString(""),
                        event.path("traceback").asString("")));
        case "result" -> {
          CodeRun.Shown shown = shown(event);
          results.add(shown);
          if (shown.main() && text.isEmpty()) {
            text = Optional.of(said);
          }
        }
        default -> {}
      }
    }
    return new CodeRun(text, results, stdout.toString(), stderr.toString(), error, count);
  }

  private static CodeRun.Shown shown(JsonNode event) {
    Map<String, Object> formats = new LinkedHashMap<>();
    event
        .properties()
        .forEach(format -> {
          if (!format.getKey().equals("type") && !format.getKey().equals("is_main_result")) {
            JsonNode value = format.getValue();
            formats.put(format.getKey(), value.isString() ? value.asString("") : value);
          }
        });
    return new CodeRun.Shown(event.path("is_main_result").asBoolean(false), formats);
  }

  /** Ends it; one that is gone already is fine. */
  @Override
  public void close() {
    try {
      wire.control("DELETE", "/sandboxes/" + id(), Map.of());
    } catch (ForkdApiException e) {
      if (e.code() != ErrorCode.NOT_FOUND) {
        throw e;
      }
    }
  }

  @Override
  public String toString() {
    return "hosted sandbox " + id();
  }
}
