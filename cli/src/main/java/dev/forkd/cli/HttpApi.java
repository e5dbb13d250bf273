package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.BranchRequest;
import dev.forkd.api.rest.ChildResult;
import dev.forkd.api.rest.CreateSandboxes;
import dev.forkd.api.rest.CreateTemplate;
import dev.forkd.api.rest.ErrorBody;
import dev.forkd.api.rest.EvalRequest;
import dev.forkd.api.rest.EvalResponse;
import dev.forkd.api.rest.ExecLine;
import dev.forkd.api.rest.ExecRequest;
import dev.forkd.api.rest.FileEntry;
import dev.forkd.api.rest.FileWritten;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.MakeDirectory;
import dev.forkd.api.rest.MalformedJsonException;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.api.rest.TemplateLine;
import java.io.BufferedReader;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.ConnectException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.OptionalLong;
import java.util.function.Consumer;

/** Talks to the daemon over HTTP. */
final class HttpApi implements Api {
  private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(5);

  /** Beyond any work the daemon does within one request of ours, its own limits included. */
  private static final Duration REQUEST_TIMEOUT = Duration.ofMinutes(30);

  private static final int STDIN_CHUNK_BYTES = 64 << 10;
  private static final String SANDBOXES = "/v1/sandboxes/";

  private final String url;
  private final String token;
  private final HttpClient client;

  /**
   * @param url without a slash at its end
   * @param token empty for none
   */
  HttpApi(String url, String token) {
    this.url = url;
    this.token = token;
    this.client =
        HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(CONNECT_TIMEOUT)
            .build();
  }

  @Override
  public List<SnapshotInfo> snapshots() {
    return decode(() -> Json.readList(get("/v1/snapshots"), SnapshotInfo.class));
  }

  @Override
  public SnapshotInfo snapshot(String tag) {
    return decode(() -> Json.read(get("/v1/snapshots/" + escape(tag)), SnapshotInfo.class));
  }

  @Override
  public SnapshotInfo bake(CreateTemplate recipe, Consumer<String> progress) {
    try (BufferedReader lines = stream("/v1/templates", recipe)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        TemplateLine part = decode(line, TemplateLine.class);
        part.progress().ifPresent(progress);
        if (part.error().isPresent()) {
          throw failure(part.code().orElse("internal"), part.error().get());
        }
        if (part.snapshot().isPresent()) {
          return part.snapshot().get();
        }
      }
    } catch (IOException e) {
      throw lost(e);
    }
    throw cutShort("building template '" + recipe.tag() + "'");
  }

  @Override
  public void deleteSnapshot(String tag, boolean cascade, boolean force) {
    String query = (cascade ? "?cascade=true" : "") + (force ? "?force=true" : "");
    send("DELETE", "/v1/snapshots/" + escape(tag) + query, BodyPublishers.noBody());
  }

  @Override
  public List<ChildResult> fork(CreateSandboxes request) {
    byte[] answer = post("/v1/sandboxes", request);
    return decode(() ->
        request.partial()
            ? Json.readList(answer, ChildResult.class)
            : Json.readList(answer, SandboxInfo.class).stream().map(ChildResult::started).toList());
  }

  @Override
  public List<SandboxInfo> sandboxes() {
    return decode(() -> Json.readList(get("/v1/sandboxes"), SandboxInfo.class));
  }

  @Override
  public SandboxInfo sandbox(String id) {
    return decode(() -> Json.read(get(SANDBOXES + escape(id)), SandboxInfo.class));
  }

  @Override
  public void kill(String id) {
    send("DELETE", SANDBOXES + escape(id), BodyPublishers.noBody());
  }

  @Override
  public SnapshotInfo branch(String id, BranchRequest request) {
    byte[] answer = post(SANDBOXES + escape(id) + "/branch", request);
    return decode(() -> Json.read(answer, SnapshotInfo.class));
  }

  @Override
  public EvalResponse eval(String id, String code, Duration timeout) {
    byte[] answer =
        post(
            SANDBOXES + escape(id) + "/eval",
            new EvalRequest(code, OptionalLong.of(timeout.toSeconds())));
    return decode(() -> Json.read(answer, EvalResponse.class));
  }

  @Override
  public int exec(String id, ExecRequest request, InputStream stdin, ExecOutput output) {
    String path = SANDBOXES + escape(id) + "/exec/stream";
    try (BufferedReader lines = stream(path, request)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        ExecLine part = decode(line, ExecLine.class);
        if (request.interactive() && part.session().isPresent()) {
          String session = part.session().get();
          Thread.ofVirtual()
              .name("stdin")
              .start(() -> pump(stdin, SANDBOXES + escape(id) + "/exec/" + session + "/stdin"));
        }
        part.stdout().ifPresent(text -> output.stdout(Base64.getDecoder().decode(text)));
        part.stderr().ifPresent(text -> output.stderr(Base64.getDecoder().decode(text)));
        if (part.error().isPresent()) {
          throw failure(part.code().orElse("internal"), part.error().get());
        }
        if (part.exitCode().isPresent()) {
          return part.exitCode().getAsInt();
        }
      }
    } catch (IOException e) {
      throw lost(e);
    }
    throw cutShort("the command in sandbox " + id);
  }

  /** Ends by itself when the input ends or the command no longer takes any. */
  private void pump(InputStream stdin, String path) {
    byte[] buffer = new byte[STDIN_CHUNK_BYTES];
    try {
      for (int n = stdin.read(buffer); n >= 0; n = stdin.read(buffer)) {
        send("POST", path, BodyPublishers.ofByteArray(Arrays.copyOf(buffer, n)));
      }
      send("POST", path + "?eof=true", BodyPublishers.noBody());
    } catch (IOException | ForkdException e) {
      // The command ended first, as `head` does: its status is what counts.
    }
  }

  @Override
  public FileEntry stat(String id, String path) {
    byte[] answer = get(files(id, "/stat", path));
    return decode(() -> Json.read(answer, FileEntry.class));
  }

  @Override
  public List<FileEntry> list(String id, String path) {
    byte[] answer = get(files(id, "/list", path));
    return decode(() -> Json.readList(answer, FileEntry.class));
  }

  @Override
  public long download(String id, String path, Path to) {
    HttpResponse<InputStream> answer = open(request("GET", files(id, "", path)).GET().build());
    Path unfinished = to.resolveSibling("." + to.getFileName() + ".forkd-part");
    try (InputStream body = answer.body()) {
      long bytes = Files.copy(body, unfinished, StandardCopyOption.REPLACE_EXISTING);
      Files.move(unfinished, to, StandardCopyOption.REPLACE_EXISTING);
      return bytes;
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE, "copying " + id + ":" + path + " to " + to + " failed: " + e, e);
    }
  }

  @Override
  public long upload(String id, Path from, String path) {
    try {
      byte[] answer = send("PUT", files(id, "", path), BodyPublishers.ofFile(from));
      return decode(() -> Json.read(answer, FileWritten.class)).sizeBytes();
    } catch (FileNotFoundException e) {
      throw new ForkdException(ErrorCode.NOT_FOUND, "cannot read " + from, e);
    }
  }

  @Override
  public void makeDirectory(String id, String path) {
    post(SANDBOXES + escape(id) + "/files/mkdir", new MakeDirectory(path));
  }

  private static String files(String id, String what, String path) {
    return SANDBOXES + escape(id) + "/files" + what + "?path=" + escape(path);
  }

  private byte[] get(String path) {
    return send("GET", path, BodyPublishers.noBody());
  }

  private byte[] post(String path, Object body) {
    return send("POST", path, BodyPublishers.ofByteArray(Json.write(body)));
  }

  private byte[] send(String method, String path, BodyPublisher body) {
    try (InputStream answer = open(request(method, path).method(method, body).build()).body()) {
      return answer.readAllBytes();
    } catch (IOException e) {
      throw lost(e);
    }
  }

  private BufferedReader stream(String path, Object body) {
    HttpRequest request =
        request("POST", path).POST(BodyPublishers.ofByteArray(Json.write(body))).build();
    return new BufferedReader(new InputStreamReader(open(request).body(), StandardCharsets.UTF_8));
  }

  private HttpRequest.Builder request(String method, String path) {
    HttpRequest.Builder builder =
        HttpRequest.newBuilder(URI.create(url + path)).timeout(REQUEST_TIMEOUT);
    builder.header(
        "Content-Type", method.equals("PUT") ? "application/octet-stream" : "application/json");
    return token.isEmpty() ? builder : builder.header("Authorization", "Bearer " + token);
  }

  /** The answer, once its status is known to be good. */
  private HttpResponse<InputStream> open(HttpRequest request) {
    try {
      HttpResponse<InputStream> answer = client.send(request, BodyHandlers.ofInputStream());
      if (answer.statusCode() >= 400) {
        try (InputStream body = answer.body()) {
          throw refused(answer.statusCode(), body.readAllBytes());
        }
      }
      return answer;
    } catch (ConnectException e) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE,
          "no daemon answers at " + url + ": start one with forkd serve, or unset FORKD_URL",
          e);
    } catch (IOException e) {
      throw lost(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted", e);
    }
  }

  private static ForkdException refused(int status, byte[] body) {
    try {
      ErrorBody error = Json.read(body, ErrorBody.class);
      ErrorCode code =
          error.code().map(ErrorCode::fromWireName).orElse(ErrorCode.fromHttpStatus(status));
      return new ForkdException(code, error.error() + " (HTTP " + status + ")");
    } catch (MalformedJsonException e) {
      String text = new String(body, StandardCharsets.UTF_8).strip();
      return new ForkdException(ErrorCode.fromHttpStatus(status), "HTTP " + status + " " + text);
    }
  }

  private static ForkdException failure(String code, String message) {
    return new ForkdException(ErrorCode.fromWireName(code), message);
  }

  private ForkdException lost(IOException e) {
    return new ForkdException(
        ErrorCode.UNAVAILABLE, "the connection to the daemon at " + url + " broke: " + e, e);
  }

  private ForkdException cutShort(String what) {
    return new ForkdException(
        ErrorCode.UNAVAILABLE,
        what + ": the daemon at " + url + " ended in the middle; see its log");
  }

  private <T> T decode(String line, Class<T> type) {
    return decode(() -> Json.read(line, type));
  }

  private <T> T decode(java.util.function.Supplier<T> reading) {
    try {
      return reading.get();
    } catch (MalformedJsonException e) {
      throw new ForkdException(
          ErrorCode.INTERNAL,
          url + " does not answer like a forkd daemon of this version: " + e.getMessage(),
          e);
    }
  }

  private static String escape(String text) {
    return URLEncoder.encode(text, StandardCharsets.UTF_8).replace("+", "%20");
  }
}
