package dev.forkd.sdk.hosted;

import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What came of code that a kernel has run.
 *
 * @param text of the last value, if there was one
 * @param results all that it showed, the last value with it, in order
 * @param executionCount of its kernel
 */
public record CodeRun(
    Optional<String> text,
    List<Shown> results,
    String stdout,
    String stderr,
    Optional<Raised> error,
    int executionCount) {

  public CodeRun {
    results = List.copyOf(results);
  }

  /**
   * Something that code showed.
   *
   * @param main it is the last value
   * @param formats by name, such as {@code text}, {@code html}, {@code png} (base64), {@code json}
   */
  public record Shown(boolean main, Map<String, Object> formats) {
    public Shown {
      formats = Map.copyOf(formats);
    }
  }

  /** What the code raised. */
  public record Raised(String name, String value, String traceback) {}
}
