package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.sdk.Forkd;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Finds the daemon that owns a data dir, or starts one that ends when idle. Two commands may do so
 * at once: the data dir's lock lets one daemon live, and both commands use that one.
 */
final class DaemonStarter {
  private static final Duration START_TIMEOUT = Duration.ofSeconds(30);

  /** How long to go on looking once our daemon ended: another command's may be on its way. */
  private static final Duration GRACE = Duration.ofSeconds(3);

  private static final Duration POLL = Duration.ofMillis(20);

  /**
   * Its process lives, so it will answer; on a machine with far too much to do that takes a while.
   */
  private static final Duration HEALTH_TIMEOUT = Duration.ofSeconds(10);

  private static final int LOG_LINES = 15;
  private static final String IDLE_EXIT_SECS = "60";

  private final DataDir dataDir;
  private final Map<String, String> environment;
  private final PrintWriter progress;

  DaemonStarter(DataDir dataDir, Map<String, String> environment, PrintWriter progress) {
    this.dataDir = dataDir;
    this.environment = environment;
    this.progress = progress;
  }

  /** The daemon, which answers. */
  DaemonFile findOrStart() {
    Optional<DaemonFile> running = DaemonFile.ofLiveDaemon(dataDir).filter(DaemonStarter::answers);
    return running.orElseGet(this::start);
  }

  private DaemonFile start() {
    progress.println("==> starting the daemon in the background (ends when idle)");
    Process process = launch();
    long deadline = System.nanoTime() + START_TIMEOUT.toNanos();
    while (System.nanoTime() < deadline) {
      Optional<DaemonFile> found = DaemonFile.ofLiveDaemon(dataDir).filter(DaemonStarter::answers);
      if (found.isPresent()) {
        return found.get();
      }
      if (!process.isAlive()) {
        deadline = Math.min(deadline, System.nanoTime() + GRACE.toNanos());
      }
      pause();
    }
    String state =
        process.isAlive()
            ? "is not ready after " + START_TIMEOUT.toSeconds() + " s"
            : "ended with status " + process.exitValue();
    throw new ForkdException(
        ErrorCode.UNAVAILABLE,
        "the daemon " + state + "; see forkd doctor and " + dataDir.daemonLog() + ":\n" + logEnd());
  }

  private Process launch() {
    String launcher = System.getProperty("forkd.launcher", "");
    if (launcher.isEmpty()) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE,
          "no daemon runs on " + dataDir.path() + ": start one with forkd serve, or set FORKD_URL");
    }
    try {
      Path log = dataDir.daemonLog();
      if (!Files.isDirectory(dataDir.path())) {
        Files.createDirectories(
            dataDir.path(),
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
      }
      Files.createDirectories(log.getParent());
      // A session of its own: Ctrl-C at the command's terminal is not meant for the daemon.
      List<String> command = new ArrayList<>(List.of("setsid", launcher, "serve", "--background"));
      command.addAll(List.of("--idle-exit-secs", IDLE_EXIT_SECS));
      command.addAll(List.of("--data-dir", dataDir.path().toString()));
      ProcessBuilder builder =
          new ProcessBuilder(command)
              .redirectInput(Path.of("/dev/null").toFile())
              .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()))
              .redirectErrorStream(true)
              .directory(dataDir.path().toFile());
      builder.environment().keySet().retainAll(environment.keySet());
      builder.environment().putAll(environment);
      return builder.start();
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE,
          "the daemon could not be started on " + dataDir.path() + ": " + e.getMessage(),
          e);
    }
  }

  private static boolean answers(DaemonFile daemon) {
    try (Forkd client = daemon.client().timeout(HEALTH_TIMEOUT).build()) {
      return client.isHealthy();
    } catch (ForkdException e) {
      // Its address is none: a damaged file, for which no daemon answers.
      return false;
    }
  }

  private String logEnd() {
    try {
      List<String> lines =
          new String(Files.readAllBytes(dataDir.daemonLog()), StandardCharsets.UTF_8)
              .lines()
              .toList();
      return String.join("\n", lines.subList(Math.max(0, lines.size() - LOG_LINES), lines.size()));
    } catch (IOException e) {
      return "(no log: " + e + ")";
    }
  }

  private static void pause() {
    try {
      Thread.sleep(POLL);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while the daemon started", e);
    }
  }
}
