package dev.forkd.http;

import io.helidon.http.HeaderName;
import io.helidon.http.Headers;
import java.util.Optional;

/** What comes before the body of a request. */
public interface Head {
  String method();

  /** The path as it was sent, still percent-encoded. */
  String rawPath();

  /** What follows the question mark, still percent-encoded; empty when there is none. */
  String rawQuery();

  Headers headers();

  /** The first value of a header. */
  default Optional<String> header(HeaderName name) {
    return headers().contains(name) ? Optional.of(headers().get(name).get()) : Optional.empty();
  }

  /** Path and query as they were sent. */
  default String target() {
    return rawQuery().isEmpty() ? rawPath() : rawPath() + "?" + rawQuery();
  }
}
