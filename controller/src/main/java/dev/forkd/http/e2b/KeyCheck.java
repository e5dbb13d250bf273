package dev.forkd.http.e2b;

import dev.forkd.api.ApiKey;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.http.Head;
import dev.forkd.http.envd.Access;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;

/** Who may use the control plane. */
final class KeyCheck {
  private static final HeaderName HEADER = HeaderNames.create("x-api-key");
  private static final String BEARER = "Bearer ";

  private final String daemonToken;
  private final String key;

  KeyCheck(String daemonToken) {
    this.daemonToken = daemonToken;
    this.key = ApiKey.of(daemonToken);
  }

  /**
   * Lets a request in that shows the key, or the daemon's token.
   *
   * @throws ForkdException UNAUTHENTICATED
   */
  void check(Head head) {
    String shown =
        head.header(HEADER)
            .or(() ->
                head.header(HeaderNames.AUTHORIZATION)
                    .filter(value -> value.startsWith(BEARER))
                    .map(value -> value.substring(BEARER.length()).strip()))
            .orElseThrow(() ->
                new ForkdException(
                    ErrorCode.UNAUTHENTICATED,
                    "no API key: send it as X-API-KEY; 'forkd e2b env' prints it"));
    if (!Access.same(shown, key) && !Access.same(shown, daemonToken)) {
      throw new ForkdException(
          ErrorCode.UNAUTHENTICATED, "invalid API key; 'forkd e2b env' prints the right one");
    }
  }
}
