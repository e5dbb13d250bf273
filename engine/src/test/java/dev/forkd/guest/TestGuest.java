package dev.forkd.guest;

import dev.forkd.api.ForkdException;
import java.io.EOFException;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/** The guest's end of a channel, frame by frame, in the hands of a test. */
final class TestGuest implements AutoCloseable {
  private final SocketChannel host;
  private final SocketChannel guest;

  /** Why the host gave the conversation up. */
  final List<ForkdException> lost = new CopyOnWriteArrayList<>();

  final AgentEvents events =
      new AgentEvents() {
        @Override
        public void changed() {}

        @Override
        public void lost(ForkdException why) {
          lost.add(why);
        }
      };

  TestGuest(Path folder) throws IOException {
    UnixDomainSocketAddress address = UnixDomainSocketAddress.of(folder.resolve("guest"));
    try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      server.bind(address);
      host = SocketChannel.open(address);
      guest = server.accept();
    }
  }

  /** The host's side, in a conversation. */
  AgentChannel channel() throws IOException {
    AgentChannel channel = new AgentChannel("sbtest", host, events);
    channel.beginSync(new byte[AgentChannel.TOKEN_BYTES]);
    greet();
    return channel;
  }

  /** The same, with all that is built on it. */
  GuestAgent agent() throws IOException {
    GuestAgent agent = GuestAgent.attach("sbtest", host, events);
    agent.beginSync(new byte[AgentChannel.TOKEN_BYTES]);
    greet();
    return agent;
  }

  private void greet() throws IOException {
    take(AgentChannel.TOKEN_BYTES);
    send(next().payload());
  }

  private ByteBuffer take(int count) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(count).order(ByteOrder.LITTLE_ENDIAN);
    while (bytes.hasRemaining()) {
      if (guest.read(bytes) < 0) {
        throw new EOFException("the host has closed its side");
      }
    }
    return bytes.flip();
  }

  /** What the host sent next; waits for it. */
  Frame next() throws IOException {
    ByteBuffer header = take(Frame.HEADER_BYTES);
    int stream = header.getInt();
    int size = Short.toUnsignedInt(header.getShort());
    int type = header.get();
    int flags = header.get();
    return new Frame(stream, type, flags, take(size).array());
  }

  private void send(byte[] bytes) throws IOException {
    ByteBuffer out = ByteBuffer.wrap(bytes);
    while (out.hasRemaining()) {
      guest.write(out);
    }
  }

  void send(int stream, int type, int flags, byte[] payload) throws IOException {
    send(
        ByteBuffer.allocate(Frame.HEADER_BYTES + payload.length)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putInt(stream)
            .putShort((short) payload.length)
            .put((byte) type)
            .put((byte) flags)
            .put(payload)
            .array());
  }

  /** Output of a request. */
  void data(int stream, String text) throws IOException {
    send(stream, Frame.DATA, Frame.CHANNEL_OUTPUT, text.getBytes(StandardCharsets.UTF_8));
  }

  void end(int stream) throws IOException {
    send(stream, Frame.END, 0, "{\"idle\":true}".getBytes(StandardCharsets.UTF_8));
  }

  /** From here on whatever the host sends fails, though it still hears the guest. */
  void takesNothing() throws IOException {
    guest.shutdownInput();
  }

  @Override
  public void close() throws IOException {
    host.close();
    guest.close();
  }
}
