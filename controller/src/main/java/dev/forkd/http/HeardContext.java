package dev.forkd.http;

import io.helidon.common.buffers.DataReader;
import io.helidon.common.buffers.DataWriter;
import io.helidon.common.socket.HelidonSocket;
import io.helidon.common.socket.PeerInfo;
import io.helidon.webserver.ConnectionContext;
import io.helidon.webserver.ListenerContext;
import io.helidon.webserver.ProxyProtocolData;
import io.helidon.webserver.Router;
import java.util.Optional;
import java.util.concurrent.ExecutorService;

/** A connection as the server made it, but read through an {@link Inbound}. */
record HeardContext(ConnectionContext made, Inbound inbound) implements ConnectionContext {
  @Override
  public DataReader dataReader() {
    return inbound.reader();
  }

  @Override
  public ListenerContext listenerContext() {
    return made.listenerContext();
  }

  @Override
  public ExecutorService executor() {
    return made.executor();
  }

  @Override
  public DataWriter dataWriter() {
    return made.dataWriter();
  }

  @Override
  public Router router() {
    return made.router();
  }

  @Override
  public Optional<ProxyProtocolData> proxyProtocolData() {
    return made.proxyProtocolData();
  }

  @Override
  public HelidonSocket serverSocket() {
    return made.serverSocket();
  }

  @Override
  public PeerInfo remotePeer() {
    return made.remotePeer();
  }

  @Override
  public PeerInfo localPeer() {
    return made.localPeer();
  }

  @Override
  public boolean isSecure() {
    return made.isSecure();
  }

  @Override
  public String socketId() {
    return made.socketId();
  }

  @Override
  public String childSocketId() {
    return made.childSocketId();
  }
}
