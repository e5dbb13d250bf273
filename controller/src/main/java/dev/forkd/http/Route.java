package dev.forkd.http;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * One method on one path.
 *
 * @param pattern such as {@code /v1/sandboxes/{id}/exec}; a segment in braces matches any one
 *     segment that is not empty
 */
public record Route(String method, String pattern, Handler handler) {
  /** What a route does; may block. */
  @FunctionalInterface
  public interface Handler {
    void handle(Exchange exchange);
  }

  /** The values of the segments in braces, still percent-encoded; empty if the path is another. */
  Optional<Map<String, String>> match(List<String> segments) {
    String[] wanted = pattern.substring(1).split("/", -1);
    if (wanted.length != segments.size()) {
      return Optional.empty();
    }
    Map<String, String> values = new LinkedHashMap<>();
    for (int i = 0; i < wanted.length; i++) {
      String segment = segments.get(i);
      if (wanted[i].startsWith("{")) {
        if (segment.isEmpty()) {
          return Optional.empty();
        }
        values.put(wanted[i].substring(1, wanted[i].length() - 1), segment);
      } else if (!wanted[i].equals(segment)) {
        return Optional.empty();
      }
    }
    return Optional.of(values);
  }
}
