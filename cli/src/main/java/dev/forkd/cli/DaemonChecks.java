package dev.forkd.cli;

import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** Whether a daemon answers, and whether it knows our token. */
final class DaemonChecks {
  private static final int TIMEOUT_MILLIS = 2000;
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
    String url = environment.getOrDefault("FORKD_URL", running.map(DaemonFile::url).orElse(""));
    if (url.isEmpty()) {
      return List.of(
          Check.pass("daemon", "none runs; the next command starts one", MEANING), tokenFile());
    }
    try {
      int alive = status(url + "/healthz", "");
      if (alive != 200) {
        return List.of(silent(url, "answers HTTP " + alive), tokenFile());
      }
      Check daemon = Check.pass("daemon", url + running.map(DaemonChecks::who).orElse(""), MEANING);
      int known = status(url + "/v1/snapshots", token(running));
      return List.of(daemon, known == 200 ? tokenFile() : refused(known));
    } catch (IOException | IllegalArgumentException e) {
      return List.of(silent(url, "does not answer: " + e.getMessage()), tokenFile());
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
    Path file = running.map(d -> Path.of(d.tokenFile())).orElse(dataDir.tokenFile());
    return !given.isEmpty() || !Files.isReadable(file) ? given : Files.readString(file).strip();
  }

  private Check tokenFile() {
    if (!environment.getOrDefault("FORKD_TOKEN", "").isEmpty()) {
      return Check.pass("token", "from FORKD_TOKEN", TOKEN_MEANING);
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

  private static int status(String url, String token) throws IOException {
    HttpURLConnection connection =
        (HttpURLConnection) URI.create(url).toURL().openConnection(java.net.Proxy.NO_PROXY);
    connection.setConnectTimeout(TIMEOUT_MILLIS);
    connection.setReadTimeout(TIMEOUT_MILLIS);
    if (!token.isEmpty()) {
      connection.setRequestProperty("Authorization", "Bearer " + token);
    }
    try {
      return connection.getResponseCode();
    } finally {
      connection.disconnect();
    }
  }
}
