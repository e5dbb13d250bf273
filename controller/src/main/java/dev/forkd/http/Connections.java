package dev.forkd.http;

import io.helidon.common.buffers.BufferData;
import io.helidon.common.concurrency.limits.Limit;
import io.helidon.webserver.ConnectionContext;
import io.helidon.webserver.spi.ServerConnection;
import io.helidon.webserver.spi.ServerConnectionSelector;
import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;

/**
 * Knows which connections are waiting for a whole request. The server itself ends those that wait
 * for the first line of one; one that has sent a line and then no more, it would keep for ever, and
 * whoever can connect could use up all connections. Here the time for a request's head, however
 * slowly it drips, is that of an idle connection. Clients that have shown a secret may keep theirs
 * for longer, until others need the room; strangers do not push them out.
 */
final class Connections implements ServerConnectionSelector {
  /** So large a part of a crowd may be of strangers who have just come, whatever others rest. */
  private static final int NEWCOMERS_SHARE = 16;

  private final ServerConnectionSelector http;
  private final Duration more;
  private final int crowd;
  private final int newcomers;
  private final Map<Thread, Watched> byThread = new ConcurrentHashMap<>();

  Connections(ServerConnectionSelector http, ServerConfig config) {
    this.http = http;
    this.more = config.keepAlive().minus(config.patience());
    this.crowd = Math.max(1, config.connectionsMax() - Limits.CONNECTIONS_SPARE);
    this.newcomers = crowd / NEWCOMERS_SHARE;
  }

  /** Says that the calling thread's connection serves a request now, or no longer. */
  void serving(boolean now) {
    Watched connection = byThread.get(Thread.currentThread());
    if (connection != null) {
      connection.quietSinceNanos = System.nanoTime();
      connection.serving = now;
    }
  }

  /** Says that the calling thread's connection has served a request, of somebody known or not. */
  void served(boolean known) {
    Watched connection = byThread.get(Thread.currentThread());
    if (connection != null && known) {
      connection.known = true;
    }
    serving(false);
  }

  /**
   * The server accepts none when all are taken, so some that rest make room for the next. Those of
   * strangers go first, but for the newest few: whoever comes is a stranger until his first request
   * is served. Then go those that have rested the longest. Those that were told to go are still
   * here for a moment, and are not counted again.
   */
  private void makeRoom() {
    List<Watched> staying =
        byThread.values().stream().filter(connection -> !connection.ending).toList();
    int many = staying.size() - crowd + 1;
    if (many > 0) {
      long nowNanos = System.nanoTime();
      List<Watched> resting =
          staying.stream()
              .filter(connection -> !connection.serving)
              // Read once: it changes when a request comes meanwhile.
              .map(connection -> new Rest(connection, nowNanos - connection.quietSinceNanos))
              .sorted(Comparator.comparingLong(Rest::nanos).reversed())
              .map(Rest::connection)
              .toList();
      List<Watched> strangers = resting.stream().filter(connection -> !connection.known).toList();
      Stream.concat(
              strangers.stream().limit(Math.max(0, strangers.size() - newcomers)), resting.stream())
          .distinct()
          .limit(many)
          .forEach(Watched::end);
    }
  }

  /** How long a connection rests already. */
  private record Rest(Watched connection, long nanos) {}

  @Override
  public int bytesToIdentifyConnection() {
    return http.bytesToIdentifyConnection();
  }

  @Override
  public Support supports(BufferData data) {
    return http.supports(data);
  }

  @Override
  public Set<String> supportedApplicationProtocols() {
    return http.supportedApplicationProtocols();
  }

  @Override
  public ServerConnection connection(ConnectionContext context) {
    makeRoom();
    Inbound inbound = new Inbound(context.dataReader());
    return new Watched(http.connection(new HeardContext(context, inbound)), inbound);
  }

  /** What the calling thread's connection receives; empty on a thread that has none. */
  Optional<Inbound> inbound() {
    return Optional.ofNullable(byThread.get(Thread.currentThread())).map(known -> known.inbound);
  }

  private final class Watched implements ServerConnection {
    private final ServerConnection connection;
    private final Inbound inbound;
    private volatile long quietSinceNanos = System.nanoTime();
    private volatile boolean serving;
    private volatile boolean known;
    private volatile boolean ending;

    Watched(ServerConnection connection, Inbound inbound) {
      this.connection = connection;
      this.inbound = inbound;
    }

    @Override
    public void handle(Limit limit) throws InterruptedException {
      byThread.put(Thread.currentThread(), this);
      try {
        connection.handle(limit);
      } finally {
        byThread.remove(Thread.currentThread());
      }
    }

    private void end() {
      ending = true;
      close(true);
    }

    /** As far as it counts: the server has one limit for all. */
    @Override
    public Duration idleTime() {
      if (serving) {
        return Duration.ZERO;
      }
      Duration quiet = Duration.ofNanos(System.nanoTime() - quietSinceNanos);
      if (!known) {
        return quiet;
      }
      Duration counts = quiet.minus(more);
      return counts.isNegative() ? Duration.ZERO : counts;
    }

    /** What does not serve a request has nothing to lose. */
    @Override
    public void close(boolean interrupt) {
      connection.close(interrupt || !serving);
    }
  }
}
