package dev.forkd.cli;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.sdk.Forkd;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/**
 * What a running daemon says of itself in {@code daemon.json}.
 *
 * @param startTicks start of its process; with the pid it names one process for good
 * @param background started by a command, and ends when idle
 * @param certificateSha256 of the certificate that it shows; none without TLS
 */
@JsonIgnoreProperties(ignoreUnknown = true)
record DaemonFile(
    String url,
    long pid,
    long startTicks,
    String tokenFile,
    boolean background,
    String version,
    Optional<String> certificateSha256) {

  /** A client of this daemon that trusts its certificate and no other. */
  Forkd.Builder client() {
    Forkd.Builder client = Forkd.builder().url(url);
    certificateSha256.ifPresent(client::certificate);
    return client;
  }

  /** The file of a daemon that is alive; one left behind by a dead daemon counts as none. */
  static Optional<DaemonFile> ofLiveDaemon(DataDir dataDir) {
    try {
      DaemonFile file =
          JsonMapper.shared().readValue(Files.readString(dataDir.daemonFile()), DaemonFile.class);
      boolean alive = new ProcessIdentity(file.pid, file.startTicks).isAlive();
      return alive ? Optional.of(file) : Optional.empty();
    } catch (NoSuchFileException e) {
      return Optional.empty();
    } catch (IOException | JacksonException e) {
      // Written by rename, so half a file means a damaged one: no daemon will answer for it.
      return Optional.empty();
    }
  }
}
