package dev.forkd.http.e2b;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.http.Head;
import dev.forkd.http.envd.Access;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/**
 * The key that clients show. They check its shape themselves, {@code e2b_} and hexadecimal digits,
 * which the daemon's token does not have; so it is made from the token.
 */
public final class ApiKey {
  private static final HeaderName HEADER = HeaderNames.create("x-api-key");
  private static final String BEARER = "Bearer ";
  private static final int DIGEST_BYTES_USED = 20;

  private final String daemonToken;
  private final String key;

  ApiKey(String daemonToken) {
    this.daemonToken = daemonToken;
    this.key = of(daemonToken);
  }

  /** The key that belongs to a daemon's token. */
  public static String of(String daemonToken) {
    try {
      byte[] digest =
          MessageDigest.getInstance("SHA-256")
              .digest(("e2b api key of " + daemonToken).getBytes(StandardCharsets.UTF_8));
      return "e2b_" + HexFormat.of().formatHex(digest, 0, DIGEST_BYTES_USED);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
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
