package dev.forkd.template;

import dev.forkd.api.ForkdException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * The program {@code vmfork}, which copies the process of a paused VM, compiled from the sources in
 * the checkout whenever they have changed. forkd works without it, only slower.
 */
public final class CopyHelperBinary {
  private static final String PROGRAM = "vmfork";

  private final SourceBuild source;

  /**
   * @param forkdHome the checkout, which holds {@code vmm/native}
   * @param folder where what is built is kept
   */
  public CopyHelperBinary(Path forkdHome, Path folder) {
    this.source =
        new SourceBuild(
            forkdHome.resolve("vmm/native"), folder, PROGRAM, List.of(), "gcc and libc6-dev");
  }

  /** The program; empty where it cannot be built, which is logged. */
  public Optional<Path> build() {
    try {
      return Optional.of(source.build("vmfork", line -> {}).place().resolve(PROGRAM));
    } catch (ForkdException e) {
      System.getLogger(CopyHelperBinary.class.getName())
          .log(System.Logger.Level.WARNING, "no vmfork: {0}", e.message());
      return Optional.empty();
    }
  }
}
