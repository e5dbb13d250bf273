package dev.forkd.api;

/**
 * The version of this forkd, as {@code --version}, {@code /version} and {@code daemon.json} say.
 */
public final class ForkdVersion {
  /** Equal to the version in {@code pom.xml}; a test compares the two. */
  public static final String CURRENT = "0.1.0";

  private ForkdVersion() {}
}
