package dev.forkd.sdk;

import dev.forkd.api.ApiKey;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.CreateWorkspace;
import dev.forkd.api.rest.Health;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.MalformedJsonException;
import dev.forkd.api.rest.PoolInfo;
import dev.forkd.api.rest.RecoveryInfo;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.api.rest.TemplateLine;
import dev.forkd.api.rest.VersionInfo;
import dev.forkd.api.rest.WorkspaceInfo;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Consumer;
import javax.net.ssl.SSLContext;

/**
 * A client of one forkd daemon. Any thread may use it; one is enough for a program.
 *
 * <pre>{@code
 * try (Forkd forkd = Forkd.connect();
 *     Sandbox sandbox = forkd.fork("python")) {
 *   sandbox.eval("x = 41");
 *   Snapshot fortyOne = sandbox.branch("forty-one");
 *   fortyOne.fork(3).forEach(child -> System.out.println(child.eval("x + 1").result()));
 * }
 * }</pre>
 *
 * <p>Every failure is a {@link ForkdApiException} with the daemon's code, status and request id.
 */
public final class Forkd implements AutoCloseable {
  /** Where a daemon listens by default. */
  public static final String DEFAULT_URL = "http://127.0.0.1:8889";

  private static final Duration BAKE_TIMEOUT = Duration.ofMinutes(10);

  private final Transport transport;

  private Forkd(Transport transport) {
    this.transport = transport;
  }

  /**
   * Connects as the environment says: FORKD_URL, FORKD_TOKEN, and for HTTPS FORKD_CA_FILE, a PEM
   * file of the authorities to trust in place of the machine's.
   */
  public static Forkd connect() {
    return builder().build();
  }

  /** Connects to another place. */
  public static Forkd connect(String url, String token) {
    return builder().url(url).token(token).build();
  }

  public static Builder builder() {
    return new Builder(System.getenv());
  }

  /** Settings of a client; what is not set comes from the environment. */
  public static final class Builder {
    private String url;
    private Optional<String> token;
    private Duration timeout = Duration.ofSeconds(60);
    private Optional<SSLContext> tls = Optional.empty();
    private final Optional<Path> authorities;

    Builder(Map<String, String> environment) {
      this.url = environment.getOrDefault("FORKD_URL", DEFAULT_URL);
      this.token = Optional.ofNullable(environment.get("FORKD_TOKEN")).filter(t -> !t.isBlank());
      this.authorities =
          Optional.ofNullable(environment.get("FORKD_CA_FILE"))
              .filter(file -> !file.isBlank())
              .map(Path::of);
    }

    public Builder url(String address) {
      this.url = address;
      return this;
    }

    /** An empty one sends none. */
    public Builder token(String secret) {
      this.token = secret.isBlank() ? Optional.empty() : Optional.of(secret);
      return this;
    }

    /** For requests that take no time limit of their own; 60 s unless set. */
    public Builder timeout(Duration limit) {
      this.timeout = limit;
      return this;
    }

    /** For a daemon whose certificate this machine does not trust by itself. */
    public Builder tls(SSLContext context) {
      this.tls = Optional.of(context);
      return this;
    }

    /**
     * Trusts the one certificate with this SHA-256, whatever names it has, and no other.
     *
     * @param sha256 64 hexadecimal digits, of the DER form
     */
    public Builder certificate(String sha256) {
      return tls(Trust.pinned(sha256));
    }

    /**
     * The client; nothing is asked yet.
     *
     * @throws ForkdException INVALID_ARGUMENT when the URL is none, or the file of FORKD_CA_FILE
     *     cannot be used
     */
    public Forkd build() {
      String address = checked(url);
      if (tls.isEmpty() && address.regionMatches(true, 0, "https", 0, 5)) {
        tls = authorities.map(Trust::authorities);
      }
      HttpClient.Builder client =
          HttpClient.newBuilder()
              .version(HttpClient.Version.HTTP_1_1)
              .connectTimeout(Duration.ofSeconds(5));
      tls.ifPresent(client::sslContext);
      return new Forkd(new Transport(client.build(), address, token.map(String::strip), timeout));
    }

    private static String checked(String address) {
      String trimmed = address.strip();
      while (trimmed.endsWith("/")) {
        trimmed = trimmed.substring(0, trimmed.length() - 1);
      }
      try {
        URI uri = URI.create(trimmed);
        String scheme = String.valueOf(uri.getScheme()).toLowerCase(Locale.ROOT);
        if ((scheme.equals("http") || scheme.equals("https")) && uri.getHost() != null) {
          return trimmed;
        }
      } catch (IllegalArgumentException e) {
        throw notAnAddress(address, e);
      }
      throw notAnAddress(address, new IllegalArgumentException(address));
    }

    private static ForkdApiException notAnAddress(String address, Exception cause) {
      return new ForkdApiException(
          ErrorCode.INVALID_ARGUMENT,
          0,
          "",
          "'" + address + "' is not the address of a daemon; expected such as " + DEFAULT_URL,
          cause);
    }
  }

  /** Where the daemon is. */
  public String url() {
    return transport.url();
  }

  /** The client that this one uses, for what it has no words for; closed with it. */
  public HttpClient httpClient() {
    return transport.client();
  }

  /**
   * The key that programs written against E2B show this daemon.
   *
   * @throws dev.forkd.api.ForkdException UNAUTHENTICATED when this client has no token
   */
  public String e2bApiKey() {
    return transport
        .token()
        .map(ApiKey::of)
        .orElseThrow(() ->
            new ForkdException(
                ErrorCode.UNAUTHENTICATED,
                "no token, so no API key; set FORKD_TOKEN to the daemon's token"));
  }

  /** Whether a daemon answers; needs no token. */
  public boolean isHealthy() {
    try {
      return transport.get("/healthz", Health.class).ok();
    } catch (ForkdApiException e) {
      return false;
    }
  }

  public VersionInfo version() {
    return transport.get("/version", VersionInfo.class);
  }

  /** The daemon's meters in Prometheus' text format. */
  public String metrics() {
    return new String(
        transport
            .send("GET", "/metrics", BodyPublishers.noBody(), Optional.empty(), transport.timeout())
            .body(),
        StandardCharsets.UTF_8);
  }

  /** What the daemon found when it took over its data. */
  public RecoveryInfo recovery() {
    return transport.get("/v1/recovery", RecoveryInfo.class);
  }

  /** Asks the daemon to stop; sandboxes live on. */
  public void shutdown() {
    transport.call("POST", "/v1/admin/shutdown", BodyPublishers.noBody(), Optional.empty());
  }

  /** All snapshots and templates, by tag. */
  public List<Snapshot> snapshots() {
    return transport.getList("/v1/snapshots", SnapshotInfo.class).stream()
        .map(info -> new Snapshot(transport, info))
        .toList();
  }

  public Snapshot snapshot(String tag) {
    return new Snapshot(
        transport, transport.get("/v1/snapshots/" + Transport.encode(tag), SnapshotInfo.class));
  }

  /** All sandboxes, by id. */
  public List<Sandbox> sandboxes() {
    return transport.getList("/v1/sandboxes", SandboxInfo.class).stream()
        .map(info -> new Sandbox(transport, info))
        .toList();
  }

  public Sandbox sandbox(String id) {
    return new Sandbox(
        transport, transport.get("/v1/sandboxes/" + Transport.encode(id), SandboxInfo.class));
  }

  /** Forks one child of a snapshot. */
  public Sandbox fork(String tag) {
    return fork(tag, ForkOptions.of(1)).getFirst();
  }

  /** Forks children of a snapshot: all, or none and an exception. */
  public List<Sandbox> fork(String tag, ForkOptions options) {
    return Snapshot.fork(transport, tag, options);
  }

  /** The pools that are on, by tag. */
  public List<PoolInfo> pools() {
    return transport.getList("/v1/pools", PoolInfo.class);
  }

  /** All workspaces, by name. */
  public List<Workspace> workspaces() {
    return transport.getList("/v1/workspaces", WorkspaceInfo.class).stream()
        .map(info -> new Workspace(transport, info))
        .toList();
  }

  public Workspace workspace(String name) {
    return new Workspace(transport, Workspace.get(transport, name));
  }

  /** Forks a sandbox of a snapshot and gives it a name, under which it can be suspended. */
  public Workspace createWorkspace(String name, String tag) {
    return createWorkspace(name, tag, OptionalLong.empty());
  }

  /**
   * The same with a limit.
   *
   * @param memoryLimitMib hard limit on the host memory of each of the workspace's sandboxes
   */
  public Workspace createWorkspace(String name, String tag, OptionalLong memoryLimitMib) {
    return new Workspace(
        transport,
        transport.post(
            "/v1/workspaces",
            new CreateWorkspace(name, tag, false, memoryLimitMib),
            WorkspaceInfo.class,
            transport.timeout()));
  }

  /**
   * Makes a template.
   *
   * @param progress hears one line per step, on this thread
   */
  public Snapshot buildTemplate(String tag, TemplateRecipe recipe, Consumer<String> progress) {
    HttpResponse<InputStream> response =
        transport.stream(
            "POST",
            "/v1/templates",
            Transport.json(recipe.wire(tag)),
            Optional.of("application/json"),
            BAKE_TIMEOUT);
    String requestId = Transport.requestId(response);
    try (InputStream answer = response.body()) {
      LineReader lines = new LineReader(answer);
      while (true) {
        byte[] bytes =
            lines
                .next()
                .orElseThrow(() -> new EOFException("the answer ends before the template is made"));
        TemplateLine line = Json.read(bytes, TemplateLine.class);
        line.progress().ifPresent(progress);
        if (line.snapshot().isPresent()) {
          return new Snapshot(transport, line.snapshot().get());
        }
        if (line.error().isPresent()) {
          throw new ForkdApiException(
              line.code().map(ErrorCode::fromWireName).orElse(ErrorCode.INTERNAL),
              response.statusCode(),
              requestId,
              line.error().get(),
              null);
        }
      }
    } catch (IOException e) {
      throw transport.unreachable(e);
    } catch (MalformedJsonException e) {
      throw new ForkdApiException(
          ErrorCode.INTERNAL, response.statusCode(), requestId, String.valueOf(e.getMessage()), e);
    }
  }

  /** Lets the connections go. Sandboxes live on. */
  @Override
  public void close() {
    transport.close();
  }
}
