package dev.forkd.api;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/**
 * The key that E2B's clients show. They check its shape themselves, {@code e2b_} and hexadecimal
 * digits, which a daemon's token does not have; so it is made from the token.
 */
public final class ApiKey {
  private static final int DIGEST_BYTES_USED = 20;

  private ApiKey() {}

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
}
