package dev.forkd.http.envd;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.Base64;
import java.util.Optional;

/**
 * What stands in for the access token in a link to one file, so that the link can be given away.
 *
 * @param path as in the link
 * @param operation {@code read} or {@code write}
 * @param user as in the link; empty when none is named
 * @param expiration when it ends, in seconds of Unix time
 */
record Signature(String path, String operation, String user, Optional<Long> expiration) {
  String of(String token) {
    String text =
        path
            + ":"
            + operation
            + ":"
            + user
            + ":"
            + token
            + expiration.map(seconds -> ":" + seconds).orElse("");
    try {
      byte[] digest =
          MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
      return "v1_" + Base64.getEncoder().withoutPadding().encodeToString(digest);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }

  boolean matches(String given, String token) {
    return MessageDigest.isEqual(
        given.getBytes(StandardCharsets.UTF_8), of(token).getBytes(StandardCharsets.UTF_8));
  }

  /**
   * @throws ForkdException UNAUTHENTICATED unless it was made with this token, and not too long ago
   */
  void check(Optional<String> given, String token, Instant now) {
    if (given.isEmpty() || given.get().isEmpty()) {
      throw new ForkdException(ErrorCode.UNAUTHENTICATED, "missing signature query parameter");
    }
    if (!matches(given.get(), token)) {
      throw new ForkdException(ErrorCode.UNAUTHENTICATED, "invalid signature");
    }
    if (expiration.isPresent() && now.getEpochSecond() > expiration.get()) {
      throw new ForkdException(ErrorCode.UNAUTHENTICATED, "signature is already expired");
    }
  }
}
