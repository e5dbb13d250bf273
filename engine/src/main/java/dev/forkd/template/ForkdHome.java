package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.stream.Stream;

/** Where the checkout is that holds the sources of what runs in a guest. */
public final class ForkdHome {
  /** Set by the launcher. */
  static final String PROPERTY = "forkd.home";

  static final String VARIABLE = "FORKD_HOME";

  /** What tells the checkout from any other folder. */
  private static final Path MARK = Path.of("guest", "agent", "build");

  private ForkdHome() {}

  /**
   * The system property {@code forkd.home}, else the variable {@code FORKD_HOME}, else the nearest
   * of this folder and those above it that holds the agent's sources.
   */
  public static Path find() {
    return find(
        Optional.ofNullable(System.getProperty(PROPERTY))
            .or(() -> Optional.ofNullable(System.getenv(VARIABLE))),
        Path.of("").toAbsolutePath());
  }

  static Path find(Optional<String> named, Path start) {
    if (named.isPresent()) {
      Path home = Path.of(named.get()).toAbsolutePath().normalize();
      if (Files.exists(home.resolve(MARK))) {
        return home;
      }
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "'"
              + home
              + "' is not a checkout of forkd: it has no "
              + MARK
              + "; set "
              + VARIABLE
              + " to one");
    }
    return Stream.iterate(start, path -> path != null, Path::getParent)
        .filter(path -> Files.exists(path.resolve(MARK)))
        .findFirst()
        .orElseThrow(() ->
            new ForkdException(
                ErrorCode.FAILED_PRECONDITION,
                "cannot find the checkout of forkd from '"
                    + start
                    + "'; run ./forkd, or set "
                    + VARIABLE));
  }
}
