package dev.forkd.http.envd;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.http.Head;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Optional;

/** Parameters of a query, as forms encode them. */
final class Query {
  private Query() {}

  /** The first of this name, decoded. */
  static Optional<String> of(Head head, String name) {
    for (String pair : head.rawQuery().split("&")) {
      int equals = pair.indexOf('=');
      String key = equals < 0 ? pair : pair.substring(0, equals);
      try {
        if (URLDecoder.decode(key, StandardCharsets.UTF_8).equals(name)) {
          return Optional.of(
              equals < 0
                  ? ""
                  : URLDecoder.decode(pair.substring(equals + 1), StandardCharsets.UTF_8));
        }
      } catch (IllegalArgumentException e) {
        throw new ForkdException(
            ErrorCode.INVALID_ARGUMENT, "the query parameter '" + key + "' is not decodable", e);
      }
    }
    return Optional.empty();
  }
}
