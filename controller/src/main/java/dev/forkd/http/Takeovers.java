package dev.forkd.http;

import io.helidon.common.buffers.BufferData;
import io.helidon.common.buffers.DataReader;
import io.helidon.common.concurrency.limits.Limit;
import io.helidon.http.Headers;
import io.helidon.http.HttpPrologue;
import io.helidon.http.WritableHeaders;
import io.helidon.webserver.CloseConnectionException;
import io.helidon.webserver.ConnectionContext;
import io.helidon.webserver.http1.spi.Http1Upgrader;
import io.helidon.webserver.spi.ServerConnection;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.time.Duration;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** Lets a {@link Surface} have the connection of a request that wants to leave HTTP. */
final class Takeovers implements Http1Upgrader {
  /** What such a request may want; the server asks for each by name, letter by letter. */
  static final List<String> PROTOCOLS = List.of("websocket", "WebSocket");

  private final String protocol;
  private final List<Surface> surfaces;
  private final Supplier<Connections> connections;
  private final Activity activity;
  private final TransferGuard transfers;
  private final Log log;

  /** Hears of each request that had its connection. */
  interface Log {
    void took(Head head, int status, Duration time);
  }

  Takeovers(
      String protocol,
      List<Surface> surfaces,
      Supplier<Connections> connections,
      Activity activity,
      TransferGuard transfers,
      Log log) {
    this.protocol = protocol;
    this.surfaces = surfaces;
    this.connections = connections;
    this.activity = activity;
    this.transfers = transfers;
    this.log = log;
  }

  private record Request(String method, String rawPath, String rawQuery, Headers headers)
      implements Head {}

  @Override
  public String supportedProtocol() {
    return protocol;
  }

  @Override
  @SuppressWarnings("NullAway") // The library's word for "not upgraded" is null.
  public @Nullable ServerConnection upgrade(
      ConnectionContext context, HttpPrologue prologue, WritableHeaders<?> headers) {
    Head head =
        new Request(
            prologue.method().text(),
            prologue.uriPath().rawPath(),
            prologue.query().rawValue(),
            headers);
    Cut cut = new Cut();
    return surfaces.stream()
        .filter(surface -> surface.takes(head))
        .findFirst()
        .flatMap(surface -> surface.upgrade(head, cut))
        .map(takeover -> new TakenOver(context, head, takeover, cut))
        .orElse(null);
  }

  private final class TakenOver implements ServerConnection {
    private final ConnectionContext context;
    private final Head head;
    private final Surface.Takeover takeover;
    private final Cut cut;

    TakenOver(ConnectionContext context, Head head, Surface.Takeover takeover, Cut cut) {
      this.context = context;
      this.head = head;
      this.takeover = takeover;
      this.cut = cut;
    }

    @Override
    public void handle(Limit limit) {
      long beginNanos = System.nanoTime();
      int status = 0;
      if (activity.enter() != Activity.Entry.ADMITTED) {
        throw new CloseConnectionException("full, or stopping");
      }
      connections.get().serving(true);
      try {
        status =
            takeover.run(
                ClientStreams.patient(new Received(context.dataReader()), cut),
                ClientStreams.output(new Sent(context), transfers, cut));
      } catch (IOException | CutOffException | ClientGoneException e) {
        throw new CloseConnectionException("the connection has ended", e);
      } finally {
        connections.get().serving(false);
        activity.leave();
        log.took(head, status, Duration.ofNanos(System.nanoTime() - beginNanos));
      }
    }

    @Override
    public Duration idleTime() {
      return Duration.ZERO;
    }

    @Override
    public void close(boolean interrupt) {
      cut.cut();
    }
  }

  /** What the client sends, as a stream. */
  private static final class Received extends InputStream {
    private final DataReader reader;

    Received(DataReader reader) {
      this.reader = reader;
    }

    @Override
    public int read() {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] bytes, int from, int count) {
      try {
        reader.ensureAvailable();
      } catch (DataReader.InsufficientDataAvailableException e) {
        return -1;
      }
      byte[] piece = reader.readBytes(Math.min(count, reader.available()));
      System.arraycopy(piece, 0, bytes, from, piece.length);
      return piece.length;
    }
  }

  /** What the client gets, as a stream. */
  private static final class Sent extends OutputStream {
    private final ConnectionContext context;

    Sent(ConnectionContext context) {
      this.context = context;
    }

    @Override
    public void write(int b) {
      write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int from, int count) {
      context.dataWriter().writeNow(BufferData.create(bytes, from, count));
    }
  }
}
