package dev.forkd.http;

import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;

/**
 * What the server needs to know.
 *
 * @param bind port 0 takes a free one
 * @param token whoever sends it may do everything
 * @param patience with a client that sends or takes nothing
 * @param keepAlive how long a connection of somebody who is known may rest; at least {@code
 *     patience}
 * @param connectionsMax open at once
 */
public record ServerConfig(
    InetSocketAddress bind,
    String token,
    Path auditLog,
    Optional<TlsFiles> tls,
    Duration patience,
    Duration keepAlive,
    int connectionsMax) {
  public ServerConfig(InetSocketAddress bind, String token, Path auditLog, Optional<TlsFiles> tls) {
    this(bind, token, auditLog, tls, Limits.CLIENT_PATIENCE);
  }

  public ServerConfig(
      InetSocketAddress bind,
      String token,
      Path auditLog,
      Optional<TlsFiles> tls,
      Duration patience) {
    this(bind, token, auditLog, tls, patience, Limits.KEEP_ALIVE, Limits.CONNECTIONS_MAX);
  }

  /** A certificate chain and its key, both PEM; the key in PKCS 8 and not encrypted. */
  public record TlsFiles(Path certificate, Path key) {}
}
