package dev.forkd.cli;

import java.nio.file.Path;
import java.util.Map;

/** The folder with everything forkd keeps, and the files in it that the command line reads. */
record DataDir(Path path) {

  /**
   * The given folder, or {@code FORKD_DATA_DIR}, or {@code $XDG_DATA_HOME/forkd}, or {@code
   * ~/.local/share/forkd}.
   */
  static DataDir from(Map<String, String> environment) {
    String given = environment.getOrDefault("FORKD_DATA_DIR", "");
    if (!given.isEmpty()) {
      return new DataDir(Path.of(given).toAbsolutePath().normalize());
    }
    String xdg = environment.getOrDefault("XDG_DATA_HOME", "");
    Path base =
        xdg.isEmpty()
            ? Path.of(environment.getOrDefault("HOME", "/root"), ".local", "share")
            : Path.of(xdg);
    return new DataDir(base.resolve("forkd").toAbsolutePath().normalize());
  }

  /** Where the running daemon says how it is reached. */
  Path daemonFile() {
    return path.resolve("daemon.json");
  }

  /** The token made at first start. */
  Path tokenFile() {
    return path.resolve("token");
  }

  Path daemonLog() {
    return path.resolve("logs").resolve("daemon.log");
  }

  Path guest() {
    return path.resolve("guest");
  }

  Path snapshots() {
    return path.resolve("snapshots");
  }

  /** The nearest folder that exists: this one, or what it will be made in. */
  Path existing() {
    Path candidate = path;
    while (!candidate.toFile().isDirectory() && candidate.getParent() != null) {
      candidate = candidate.getParent();
    }
    return candidate;
  }
}
