package dev.forkd.sdk;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.rest.ErrorBody;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.MalformedJsonException;
import java.io.IOException;
import java.io.InputStream;
import java.net.ConnectException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandler;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.HttpTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** HTTP to one daemon: addresses, token, answers and failures. Knows no resource. */
final class Transport implements AutoCloseable {
  /** Largest answer that is kept in memory; files and streams are not. */
  private static final long ANSWER_BYTES_MAX = 256L << 20;

  private static final int ERROR_BYTES_MAX = 1 << 20;

  private final HttpClient client;
  private final String url;
  private final Optional<String> token;
  private final Duration timeout;

  Transport(HttpClient client, String url, Optional<String> token, Duration timeout) {
    this.client = client;
    this.url = url;
    this.token = token;
    this.timeout = timeout;
  }

  String url() {
    return url;
  }

  HttpClient client() {
    return client;
  }

  Optional<String> token() {
    return token;
  }

  /** How long a request may take that says nothing else. */
  Duration timeout() {
    return timeout;
  }

  /** A segment of a path or a value of a query. */
  static String encode(String text) {
    return URLEncoder.encode(text, StandardCharsets.UTF_8).replace("+", "%20");
  }

  static BodyPublisher json(Object message) {
    return BodyPublishers.ofByteArray(Json.write(message));
  }

  <T> T get(String path, Class<T> type) {
    return message(send("GET", path, BodyPublishers.noBody(), Optional.empty(), timeout), type);
  }

  <T> List<T> getList(String path, Class<T> elementType) {
    return list(send("GET", path, BodyPublishers.noBody(), Optional.empty(), timeout), elementType);
  }

  /** A request without a body. */
  <T> T post(String path, Class<T> type) {
    return message(send("POST", path, BodyPublishers.noBody(), Optional.empty(), timeout), type);
  }

  <T> T post(String path, Object body, Class<T> type, Duration limit) {
    return message(send("POST", path, json(body), Optional.of("application/json"), limit), type);
  }

  <T> List<T> postList(String path, Object body, Class<T> elementType, Duration limit) {
    return list(
        send("POST", path, json(body), Optional.of("application/json"), limit), elementType);
  }

  <T> T put(String path, Object body, Class<T> type) {
    return message(send("PUT", path, json(body), Optional.of("application/json"), timeout), type);
  }

  /** A request whose answer is of no interest beyond its success. */
  void call(String method, String path, BodyPublisher body, Optional<String> contentType) {
    send(method, path, body, contentType, timeout);
  }

  HttpResponse<byte[]> send(
      String method,
      String path,
      BodyPublisher body,
      Optional<String> contentType,
      Duration limit) {
    HttpResponse<byte[]> answer =
        exchange(
            request(method, path, body, contentType).timeout(limit).build(),
            BodyHandlers.limiting(BodyHandlers.ofByteArray(), ANSWER_BYTES_MAX));
    if (answer.statusCode() / 100 != 2) {
      throw failure(answer, answer.body());
    }
    return answer;
  }

  /**
   * A request whose answer is read as it comes.
   *
   * @param limit until the answer begins
   */
  HttpResponse<InputStream> stream(
      String method,
      String path,
      BodyPublisher body,
      Optional<String> contentType,
      Duration limit) {
    HttpResponse<InputStream> answer =
        exchange(
            request(method, path, body, contentType).timeout(limit).build(),
            BodyHandlers.ofInputStream());
    if (answer.statusCode() / 100 == 2) {
      return answer;
    }
    try (InputStream reason = answer.body()) {
      throw failure(answer, reason.readNBytes(ERROR_BYTES_MAX));
    } catch (IOException e) {
      throw unreachable(e);
    }
  }

  private HttpRequest.Builder request(
      String method, String path, BodyPublisher body, Optional<String> contentType) {
    HttpRequest.Builder builder =
        HttpRequest.newBuilder(URI.create(url + path)).method(method, body);
    token.ifPresent(secret -> builder.header("Authorization", "Bearer " + secret));
    contentType.ifPresent(type -> builder.header("Content-Type", type));
    return builder;
  }

  private <T> HttpResponse<T> exchange(HttpRequest request, BodyHandler<T> handler) {
    try {
      return client.send(request, handler);
    } catch (HttpTimeoutException e) {
      throw new ForkdApiException(
          ErrorCode.DEADLINE_EXCEEDED,
          0,
          "",
          request.method()
              + " "
              + request.uri().getPath()
              + " was not answered within "
              + request.timeout().orElse(timeout).toSeconds()
              + " s",
          e);
    } catch (IOException e) {
      throw unreachable(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdApiException(
          ErrorCode.CANCELLED, 0, "", "interrupted while waiting for " + url, e);
    }
  }

  ForkdApiException unreachable(IOException cause) {
    String reason =
        cause instanceof ConnectException
            ? "no forkd daemon answers at " + url + "; start one with 'forkd serve'"
            : "the connection to the forkd daemon at " + url + " broke: " + cause.getMessage();
    return new ForkdApiException(ErrorCode.UNAVAILABLE, 0, "", reason, cause);
  }

  private static ForkdApiException failure(HttpResponse<?> answer, byte[] body) {
    int status = answer.statusCode();
    String message = "HTTP " + status;
    ErrorCode code = ErrorCode.fromHttpStatus(status);
    try {
      ErrorBody error = Json.read(body, ErrorBody.class);
      message = error.error().isEmpty() ? message : error.error();
      code = error.code().map(ErrorCode::fromWireName).orElse(code);
    } catch (MalformedJsonException e) {
      // Something between us and the daemon answered; its words are better than none.
      String text = new String(body, StandardCharsets.UTF_8).strip();
      message = text.isEmpty() ? message : message + ": " + text;
    }
    return new ForkdApiException(code, status, requestId(answer), message, null);
  }

  static String requestId(HttpResponse<?> answer) {
    return answer.headers().firstValue("x-request-id").orElse("");
  }

  private <T> T message(HttpResponse<byte[]> answer, Class<T> type) {
    try {
      return Json.read(answer.body(), type);
    } catch (MalformedJsonException e) {
      throw strange(answer, e);
    }
  }

  private <T> List<T> list(HttpResponse<byte[]> answer, Class<T> elementType) {
    try {
      return Json.readList(answer.body(), elementType);
    } catch (MalformedJsonException e) {
      throw strange(answer, e);
    }
  }

  private ForkdApiException strange(HttpResponse<?> answer, MalformedJsonException cause) {
    return new ForkdApiException(
        ErrorCode.INTERNAL,
        answer.statusCode(),
        requestId(answer),
        url + " does not answer as a forkd daemon does: " + cause.getMessage(),
        cause);
  }

  @Override
  public void close() {
    client.shutdownNow();
  }
}
