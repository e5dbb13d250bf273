package dev.forkd.sdk.hosted;

import dev.forkd.sdk.Forkd;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.WebSocket;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;

/**
 * Servers in a sandbox, at any of its ports: HTTP and WebSockets, through the daemon, also where
 * the guest has no network.
 */
public final class HostedPorts {
  private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(30);

  private final Forkd forkd;
  private final Wire wire;
  private final Wire.Access access;

  HostedPorts(Forkd forkd, Wire wire, Wire.Access access) {
    this.forkd = forkd;
    this.wire = wire;
    this.access = access;
  }

  /** A request to a server, to be completed, and sent by {@link #send} or any HTTP client. */
  public HttpRequest.Builder request(int port, String pathAndQuery) {
    return wire.toPort(access.id(), port, pathAndQuery);
  }

  /**
   * Sends a request. What the server answers is given as it is; 502 when nobody listens there.
   *
   * @throws dev.forkd.sdk.ForkdApiException UNAVAILABLE when the daemon cannot be reached
   */
  public <T> HttpResponse<T> send(HttpRequest request, HttpResponse.BodyHandler<T> body) {
    try {
      return forkd.httpClient().send(request, body);
    } catch (IOException e) {
      throw wire.unreachable(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw wire.unreachable(new IOException("interrupted", e));
    }
  }

  /** Opens a WebSocket to a server; fails as the JDK's client does when it refuses. */
  public CompletableFuture<WebSocket> webSocket(
      int port, String pathAndQuery, WebSocket.Listener listener) {
    HttpRequest like = request(port, pathAndQuery).build();
    WebSocket.Builder builder =
        forkd.httpClient().newWebSocketBuilder().connectTimeout(CONNECT_TIMEOUT);
    like.headers().map().forEach((name, values) -> values.forEach(v -> builder.header(name, v)));
    // From http to ws, from https to wss.
    URI uri = URI.create(like.uri().toString().replaceFirst("^http", "ws"));
    return builder.buildAsync(uri, listener);
  }
}
