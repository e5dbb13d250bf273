package dev.forkd.cli;

import dev.forkd.api.ForkdException;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;

/** Whether a daemon answers, and whether it knows our token. */
final class DaemonChecks {
  private static final Duration TIMEOUT = Duration.ofSeconds(10);
  private static final String MEANING = "serves the API; commands start one when none runs";
  private static final String TOKEN_MEANING = "keeps other users of this host out";

  private final DataDir dataDir;
  private final Map<String, String> environment;

  DaemonChecks(DataDir dataDir, Map<String, String> environment) {
    this.dataDir = dataDir;
    this.environment = environment;
  }

  List<Check> all() {
    Optional<DaemonFile> running = DaemonFile.ofLiveDaemon(dataDir);
    String named = environment.getOrDefault("FORKD_URL", "");
    if (!named.isEmpty()) {
      return ask(named, "", running, () -> Forkd.builder().url(named));
    }
    return running
        .map(daemon -> ask(daemon.url(), who(daemon), running, daemon::client))
        .orElseGet(() ->
            List.of(
                Check.pass("daemon", "none runs; the next command starts one", MEANING),
                tokenCheck()));
  }

  private List<Check> ask(
      String url, String who, Optional<DaemonFile> running, Supplier<Forkd.Builder> address) {
    try (Forkd client = address.get().token(token(running)).timeout(TIMEOUT).build()) {
      try {
        client.snapshots();
      } catch (ForkdApiException e) {
        if (e.status() == 0 || !client.isHealthy()) {
          return List.of(silent(url, "does not answer: " + e.message()), tokenCheck());
        }
        return List.of(
            Check.pass("daemon", url + who, MEANING),
            isWithoutToken() ? tokenCheck() : refused(e.status()));
      }
      return List.of(Check.pass("daemon", url + who, MEANING), tokenCheck());
    } catch (ForkdException | IOException e) {
      return List.of(silent(url, "cannot be asked: " + e.getMessage()), tokenCheck());
    }
  }

  private static String who(DaemonFile file) {
    return ", pid "
        + file.pid()
        + ", version "
        + file.version()
        + (file.background() ? ", in the background" : "");
  }

  private Check silent(String url, String how) {
    return Check.fail(
        "daemon",
        url + " " + how,
        MEANING,
        "see " + dataDir.daemonLog() + ", then start it: forkd serve");
  }

  private static Check refused(int status) {
    return Check.fail(
        "token",
        "the daemon answers HTTP " + status + " to our token",
        TOKEN_MEANING,
        "set FORKD_TOKEN to the token in the file its --token-file names");
  }

  private String token(Optional<DaemonFile> running) throws IOException {
    String given = environment.getOrDefault("FORKD_TOKEN", "");
    if (isWithoutToken()) {
      return given;
    }
    Path file = running.map(d -> Path.of(d.tokenFile())).orElse(dataDir.tokenFile());
    return !given.isEmpty() || !Files.isReadable(file) ? given : Files.readString(file).strip();
  }

  /** Another host is not shown the token of this data directory. */
  private boolean isWithoutToken() {
    String named = environment.getOrDefault("FORKD_URL", "");
    return environment.getOrDefault("FORKD_TOKEN", "").isEmpty()
        && !named.isEmpty()
        && !Connection.isThisHost(named);
  }

  private Check tokenCheck() {
    if (isWithoutToken()) {
      return Check.fail(
          "token",
          "none for another host: the one of this data directory is sent to this host only",
          TOKEN_MEANING,
          "set FORKD_TOKEN to the token of that daemon");
    }
    if (!environment.getOrDefault("FORKD_TOKEN", "").isEmpty()) {
      return Check.pass("token", "given (FORKD_TOKEN)", TOKEN_MEANING);
    }
    Path file = dataDir.tokenFile();
    if (!Files.exists(file)) {
      return Check.pass(
          "token", "none yet; the daemon makes one at its first start", TOKEN_MEANING);
    }
    try {
      Set<PosixFilePermission> others = Files.getPosixFilePermissions(file);
      others.removeAll(Set.of(PosixFilePermission.OWNER_READ, PosixFilePermission.OWNER_WRITE));
      return others.isEmpty()
          ? Check.pass("token", file.toString(), TOKEN_MEANING)
          : Check.fail("token", file + " is open to others", TOKEN_MEANING, "chmod 600 " + file);
    } catch (IOException e) {
      return Check.fail("token", "cannot look at " + file + ": " + e, TOKEN_MEANING, "chown it");
    }
  }
}
