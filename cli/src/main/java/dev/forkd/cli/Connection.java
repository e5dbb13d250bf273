package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.sdk.Forkd;
import java.io.IOException;
import java.io.PrintWriter;
import java.net.InetAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import picocli.CommandLine.Option;

/** How a command finds its daemon: the one that was named, the one that runs, or a new one. */
final class Connection {
  /** Longer than the daemon's own limits, so that its words are heard and not our impatience. */
  private static final Duration REQUEST_TIMEOUT = Duration.ofMinutes(10);

  @Option(
      names = "--daemon-url",
      paramLabel = "URL",
      description = "the daemon to talk to (FORKD_URL); otherwise the one of the data dir")
  private String url = "";

  @Option(names = "--daemon-token", paramLabel = "TOKEN", hidden = true)
  private String token = "";

  @Option(
      names = "--data-dir",
      paramLabel = "DIR",
      description = "where forkd keeps everything (FORKD_DATA_DIR)")
  private String dataDir = "";

  private final Map<String, String> environment = System.getenv();

  DataDir dataDir() {
    return DataDir.from(environment());
  }

  /** The environment as it would be if what the options say stood there. */
  Map<String, String> environment() {
    Map<String, String> effective = new HashMap<>(environment);
    Map.of("FORKD_DATA_DIR", dataDir, "FORKD_URL", url, "FORKD_TOKEN", token)
        .forEach((name, given) -> {
          if (!given.isEmpty()) {
            effective.put(name, given);
          }
        });
    return effective;
  }

  /** A daemon to talk to; one is started in the background when none runs and none was named. */
  Forkd open(PrintWriter progress) {
    String named = environment().getOrDefault("FORKD_URL", "");
    if (!named.isEmpty()) {
      return client(
          Forkd.builder().url(named),
          isThisHost(named) ? token(dataDir().tokenFile()) : tokenFor(named));
    }
    DaemonFile daemon = new DaemonStarter(dataDir(), environment, progress).findOrStart();
    return client(daemon.client(), token(Path.of(daemon.tokenFile())));
  }

  /**
   * Whether an address is one of this host alone. No other is shown the token of the data
   * directory: it opens everything here, and whoever named the address may have meant no daemon of
   * ours. Names are not looked up; what a resolver says is no reason to trust.
   */
  static boolean isThisHost(String url) {
    try {
      String host = Optional.ofNullable(URI.create(url.strip()).getHost()).orElse("");
      return host.equalsIgnoreCase("localhost")
          || InetAddress.ofLiteral(host.replaceAll("[\\[\\]]", "")).isLoopbackAddress();
    } catch (IllegalArgumentException e) {
      return false; // A name, or no address at all.
    }
  }

  private String tokenFor(String elsewhere) {
    String given = environment().getOrDefault("FORKD_TOKEN", "");
    if (given.isEmpty()) {
      throw new ForkdException(
          ErrorCode.UNAUTHENTICATED,
          "no token for the daemon at "
              + elsewhere
              + ", and the one of this data directory is sent to this host only: set FORKD_TOKEN to"
              + " that daemon's token");
    }
    return given;
  }

  private String token(Path file) {
    String given = environment().getOrDefault("FORKD_TOKEN", "");
    if (!given.isEmpty() || !Files.exists(file)) {
      return given;
    }
    try {
      return Files.readString(file).strip();
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.UNAUTHENTICATED,
          "cannot read the token in "
              + file
              + " ("
              + e
              + "): set FORKD_TOKEN to the daemon's token",
          e);
    }
  }

  private static Forkd client(Forkd.Builder address, String secret) {
    return address.token(secret).timeout(REQUEST_TIMEOUT).build();
  }
}
