package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.PortConnection;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;

/** A TCP connection to a port of a guest, carried by one stream of its agent's channel. */
public final class AgentConnection implements PortConnection {
  private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(10);

  /** How long to wait at a time; a connection may be silent for as long as it likes. */
  private static final Duration TURN = Duration.ofHours(1);

  /** For what the guest does not read. */
  private static final Duration STALL = Duration.ofMinutes(2);

  private final GuestAgent agent;
  private final AgentStream stream;
  private final Runnable ended;
  private final AtomicBoolean closed = new AtomicBoolean();
  private final Incoming input = new Incoming();
  private final Outgoing output = new Outgoing();

  private AgentConnection(GuestAgent agent, AgentStream stream, Runnable ended) {
    this.agent = agent;
    this.stream = stream;
    this.ended = ended;
  }

  /**
   * Connects.
   *
   * @param ended runs once when the connection is closed here; not when this method throws
   * @throws ForkdException NOT_FOUND when nothing listens there, INVALID_ARGUMENT
   */
  public static AgentConnection open(GuestAgent agent, int port, Runnable ended) {
    if (port < 1 || port > 65535) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "port " + port + " does not exist: 1 to 65535 do");
    }
    AgentStream stream = agent.open(Map.of("op", "connect", "port", port));
    Optional<AgentStream.Item> first = stream.next(CONNECT_TIMEOUT);
    return switch (first.orElse(new AgentStream.Item.Eof())) {
      case AgentStream.Item.Note _ -> new AgentConnection(agent, stream, ended);
      case AgentStream.Item.Failed(ForkdException why) ->
          throw new ForkdException(why.code(), why.message(), why);
      default -> {
        agent.cancel(stream, "the port was not connected");
        throw new ForkdException(
            ErrorCode.DEADLINE_EXCEEDED,
            "port " + port + " of the guest was not connected within " + CONNECT_TIMEOUT);
      }
    };
  }

  @Override
  public InputStream input() {
    return input;
  }

  @Override
  public OutputStream output() {
    return output;
  }

  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      // Whoever reads at this moment hears of it.
      agent.cancel(stream, "the connection was closed");
      ended.run();
    }
  }

  /** One reader at a time. */
  private final class Incoming extends InputStream {
    private byte[] chunk = new byte[0];
    private int at;
    private boolean over;

    @Override
    public int read() throws IOException {
      byte[] one = new byte[1];
      return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] into, int offset, int length) throws IOException {
      Objects.checkFromIndexSize(offset, length, into.length);
      if (length == 0) {
        return 0;
      }
      while (at == chunk.length) {
        if (over || !fill()) {
          over = true;
          return -1;
        }
      }
      int piece = Math.min(length, chunk.length - at);
      System.arraycopy(chunk, at, into, offset, piece);
      at += piece;
      return piece;
    }

    @Override
    public int available() {
      return chunk.length - at;
    }

    private boolean fill() throws IOException {
      while (true) {
        Optional<AgentStream.Item> item;
        try {
          item = stream.next(TURN);
        } catch (ForkdException e) {
          throw new IOException(e.message(), e);
        }
        if (item.isEmpty()) {
          continue;
        }
        switch (item.get()) {
          case AgentStream.Item.Data(_, byte[] bytes) -> {
            chunk = bytes;
            at = 0;
            return true;
          }
          case AgentStream.Item.Note _ -> {}
          case AgentStream.Item.Eof(), AgentStream.Item.Ended _ -> {
            return false;
          }
          case AgentStream.Item.Failed(ForkdException why) ->
              throw new IOException(why.message(), why);
        }
      }
    }
  }

  private final class Outgoing extends OutputStream {
    private boolean ended;

    @Override
    public void write(int b) throws IOException {
      write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int offset, int length) throws IOException {
      try {
        stream.sendInput(bytes, offset, length, STALL);
      } catch (ForkdException e) {
        throw new IOException(e.message(), e);
      }
    }

    @Override
    public void close() throws IOException {
      if (ended || stream.over()) {
        return;
      }
      ended = true;
      try {
        agent.sendEof(stream);
      } catch (ForkdException e) {
        throw new IOException(e.message(), e);
      }
    }
  }
}
