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
 */
public record ServerConfig(
    InetSocketAddress bind,
    String token,
    Path auditLog,
    Optional<TlsFiles> tls,
    Duration patience) {
  public ServerConfig(InetSocketAddress bind, String token, Path auditLog, Optional<TlsFiles> tls) {
    this(bind, token, auditLog, tls, Limits.CLIENT_PATIENCE);
  }

  /** A certificate chain and its key, both PEM; the key in PKCS 8 and not encrypted. */
  public record TlsFiles(Path certificate, Path key) {}
}
