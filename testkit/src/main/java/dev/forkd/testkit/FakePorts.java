package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestPorts;
import dev.forkd.engine.PortConnection;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.Socket;

/** A guest whose ports are this host's. */
record FakePorts(FakeDoor door) implements GuestPorts {
  private record Connection(
      Socket socket, InputStream input, OutputStream output, FakeDoor.Pass pass)
      implements PortConnection {
    @Override
    public void close() {
      pass.close();
      try {
        socket.close();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  @Override
  public PortConnection connect(int port) {
    try {
      Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
      return new Connection(
          socket, socket.getInputStream(), socket.getOutputStream(), door.enter());
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.NOT_FOUND, "nothing listens at port " + port, e);
    }
  }
}
