package dev.forkd.http;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Optional;

/**
 * Lets those in who know the token. Digests are compared, so neither the time taken nor an early
 * exit tells how long the token is or how much of a guess was right.
 */
public final class BearerAuth {
  private static final String SCHEME = "Bearer ";

  private final byte[] tokenDigest;

  public BearerAuth(String token) {
    this.tokenDigest = digest(token);
  }

  /** Whether a path is open to everybody. */
  static boolean isExempt(String rawPath) {
    return rawPath.equals("/healthz") || rawPath.equals("/healthz/");
  }

  /** Throws UNAUTHENTICATED unless the header carries the token. */
  void check(Optional<String> authorization) {
    String presented =
        authorization
            .filter(header -> header.startsWith(SCHEME))
            .map(header -> header.substring(SCHEME.length()).strip())
            .orElse("");
    if (presented.isEmpty()) {
      throw new ForkdException(ErrorCode.UNAUTHENTICATED, "missing bearer token");
    }
    if (!MessageDigest.isEqual(digest(presented), tokenDigest)) {
      throw new ForkdException(ErrorCode.UNAUTHENTICATED, "invalid bearer token");
    }
  }

  private static byte[] digest(String text) {
    try {
      return MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }
}
