package dev.forkd.sdk.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.sdk.ForkdApiException;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * What hosted sandboxes are spoken to with: E2B's control plane, Connect with the JSON codec, and
 * plain requests to a port of a sandbox.
 *
 * @see <a href="https://connectrpc.com/docs/protocol/">the Connect protocol</a>
 */
final class Wire {
  static final int ENVD_PORT = 49983;
  private static final JsonMapper JSON = JsonMapper.shared();
  private static final Duration UNARY_TIMEOUT = Duration.ofSeconds(60);
  private static final int MESSAGE_BYTES_MAX = 64 << 20;
  private static final int ANSWER_BYTES_MAX = 64 << 20;
  private static final int END_OF_STREAM = 2;

  private final HttpClient client;
  private final String url;
  private final String apiKey;

  Wire(HttpClient client, String url, String apiKey) {
    this.client = client;
    this.url = url;
    this.apiKey = apiKey;
  }

  static byte[] json(Object message) {
    return JSON.writeValueAsBytes(message);
  }

  static JsonNode parse(byte[] json) {
    try {
      return json.length == 0 ? JSON.createObjectNode() : JSON.readTree(json);
    } catch (JacksonException e) {
      throw new ForkdApiException(
          ErrorCode.INTERNAL, 0, "", "the daemon's answer is not JSON: " + e.getMessage(), e);
    }
  }

  /** A request to the control plane. */
  JsonNode control(String method, String path, Map<String, ?> body) {
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(url + path))
            .timeout(UNARY_TIMEOUT)
            .header("X-API-KEY", apiKey)
            .header("Content-Type", "application/json")
            .method(
                method,
                method.equals("GET") || method.equals("DELETE")
                    ? BodyPublishers.noBody()
                    : BodyPublishers.ofByteArray(json(body)))
            .build();
    return parse(whole(request));
  }

  /** A request to a port of a sandbox, to be completed. */
  HttpRequest.Builder toPort(String id, int port, String pathAndQuery) {
    return HttpRequest.newBuilder(URI.create(url + pathAndQuery))
        .header("E2b-Sandbox-Id", id)
        .header("E2b-Sandbox-Port", Integer.toString(port));
  }

  /** What a request to a port is answered with, in JSON. */
  JsonNode answer(HttpRequest request) {
    return parse(whole(request));
  }

  private byte[] whole(HttpRequest request) {
    HttpResponse<byte[]> answer =
        send(
            request,
            HttpResponse.BodyHandlers.limiting(
                HttpResponse.BodyHandlers.ofByteArray(), ANSWER_BYTES_MAX));
    if (answer.statusCode() / 100 != 2) {
      throw failure(answer.statusCode(), answer.body());
    }
    return answer.body();
  }

  <T> HttpResponse<T> send(HttpRequest request, HttpResponse.BodyHandler<T> handler) {
    try {
      return client.send(request, handler);
    } catch (HttpTimeoutException e) {
      throw new ForkdApiException(
          ErrorCode.DEADLINE_EXCEEDED, 0, "", request.uri() + " was not answered in time", e);
    } catch (IOException e) {
      throw unreachable(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdApiException(ErrorCode.CANCELLED, 0, "", "interrupted", e);
    }
  }

  /** A body that is read as it comes, once it is known to be a good one. */
  InputStream stream(HttpRequest request) {
    HttpResponse<InputStream> answer = send(request, HttpResponse.BodyHandlers.ofInputStream());
    if (answer.statusCode() / 100 == 2) {
      return answer.body();
    }
    try (InputStream reason = answer.body()) {
      throw failure(answer.statusCode(), reason.readNBytes(1 << 20));
    } catch (IOException e) {
      throw unreachable(e);
    }
  }

  ForkdApiException unreachable(IOException cause) {
    return new ForkdApiException(
        ErrorCode.UNAVAILABLE,
        0,
        "",
        "the connection to the sandbox through " + url + " broke: " + cause.getMessage(),
        cause);
  }

  /** Errors have a number where the control plane tells them, a name where Connect does. */
  private static ForkdApiException failure(int status, byte[] body) {
    String message = "HTTP " + status;
    ErrorCode code = ErrorCode.fromHttpStatus(status);
    try {
      JsonNode told = JSON.readTree(body);
      message = told.path("message").asString(message);
      if (told.path("code").isString()) {
        code = code(told.path("code").asString(""));
      }
    } catch (JacksonException e) {
      message = message + ": " + new String(body, StandardCharsets.UTF_8).strip();
    }
    if (status == 502) {
      code = ErrorCode.NOT_FOUND;
    }
    return new ForkdApiException(code, status, "", message, null);
  }

  private static ErrorCode code(String name) {
    return switch (name) {
      case "canceled" -> ErrorCode.CANCELLED;
      case "out_of_range" -> ErrorCode.INVALID_ARGUMENT;
      case "unknown" -> ErrorCode.INTERNAL;
      default -> ErrorCode.fromWireName(name);
    };
  }

  private HttpRequest.Builder procedure(
      Access access, String procedure, String type, byte[] body, Optional<String> user) {
    HttpRequest.Builder request =
        toPort(access.id(), ENVD_PORT, "/" + procedure)
            .header("Content-Type", type)
            .header("Connect-Protocol-Version", "1")
            .POST(BodyPublishers.ofByteArray(body));
    access.authorize(request, user);
    return request;
  }

  /** One message there, one back. */
  JsonNode call(Access access, String procedure, Map<String, ?> message, Optional<String> user) {
    return parse(
        whole(
            procedure(access, procedure, "application/json", json(message), user)
                .timeout(UNARY_TIMEOUT)
                .build()));
  }

  /** An open stream of messages; closing it leaves. */
  final class Messages implements AutoCloseable {
    private final InputStream in;
    private volatile boolean closed;

    private Messages(InputStream in) {
      this.in = in;
    }

    /** Hands each message on until the end. */
    void forEach(Consumer<JsonNode> each) {
      try {
        while (true) {
          byte[] prefix = in.readNBytes(5);
          if (prefix.length < 5) {
            throw new EOFException("the stream was cut off");
          }
          int length = ByteBuffer.wrap(prefix, 1, 4).getInt();
          if (length < 0 || length > MESSAGE_BYTES_MAX) {
            throw new IOException("a message of " + Integer.toUnsignedLong(length) + " bytes");
          }
          byte[] message = in.readNBytes(length);
          if (message.length < length) {
            throw new EOFException("the stream was cut off");
          }
          if ((prefix[0] & END_OF_STREAM) != 0) {
            JsonNode error = parse(message).path("error");
            if (error.isObject()) {
              throw new ForkdApiException(
                  code(error.path("code").asString("")),
                  200,
                  "",
                  error.path("message").asString("the sandbox gave no reason"),
                  null);
            }
            return;
          }
          each.accept(parse(message));
        }
      } catch (IOException e) {
        if (closed) {
          throw new ForkdApiException(ErrorCode.CANCELLED, 0, "", "the stream was closed", e);
        }
        throw unreachable(e);
      }
    }

    @Override
    public void close() {
      closed = true;
      try {
        in.close();
      } catch (IOException e) {
        throw unreachable(e);
      }
    }
  }

  /**
   * One message there, any number back.
   *
   * @param lifetime of what is started; no limit when empty
   */
  Messages open(
      Access access,
      String procedure,
      Map<String, ?> message,
      Optional<String> user,
      Optional<Duration> lifetime) {
    byte[] json = json(message);
    byte[] envelope =
        ByteBuffer.allocate(5 + json.length).put((byte) 0).putInt(json.length).put(json).array();
    HttpRequest.Builder request =
        procedure(access, procedure, "application/connect+json", envelope, user);
    lifetime.ifPresent(
        time -> request.header("Connect-Timeout-Ms", Long.toString(Math.max(1, time.toMillis()))));
    return new Messages(stream(request.build()));
  }

  /** A sandbox, and what opens it. */
  record Access(String id, Optional<String> token) {
    void authorize(HttpRequest.Builder request, Optional<String> user) {
      token.ifPresent(secret -> request.header("X-Access-Token", secret));
      user.ifPresent(name ->
          request.header(
              "Authorization",
              "Basic "
                  + java.util.Base64.getEncoder()
                      .encodeToString((name + ":").getBytes(StandardCharsets.UTF_8))));
    }
  }
}
