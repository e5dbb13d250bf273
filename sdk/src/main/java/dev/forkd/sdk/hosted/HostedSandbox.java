package dev.forkd.sdk.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
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

  /** Its interpreter, with contexts, environments and time limits. */
  public HostedCode code() {
    return new HostedCode(wire, access);
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
    return code().run(code);
  }

  /**
   * Runs code in its interpreter; state stays from run to run.
   *
   * @param language {@code python}, {@code javascript}, {@code bash} or {@code java}
   * @param listener hears what it prints, as it comes
   */
  public CodeRun runCode(String code, String language, Consumer<Output> listener) {
    return code().run(code, HostedCode.Options.DEFAULT.language(language), listener);
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
