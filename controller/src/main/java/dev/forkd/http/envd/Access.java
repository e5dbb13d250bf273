package dev.forkd.http.envd;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.http.Head;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.InstantSource;
import java.util.Optional;

/** Who may talk to a guest's processes and files. */
public final class Access {
  public static final HeaderName TOKEN = HeaderNames.create("x-access-token");

  private final InstantSource clock;

  public Access(InstantSource clock) {
    this.clock = clock;
  }

  /** Whether two secrets are the same, in a time that does not tell where they differ. */
  public static boolean same(String given, String secret) {
    return MessageDigest.isEqual(
        given.getBytes(StandardCharsets.UTF_8), secret.getBytes(StandardCharsets.UTF_8));
  }

  /** Whether a request carries this token. */
  public static boolean shows(Head head, String token) {
    return head.header(TOKEN).filter(given -> same(given, token)).isPresent();
  }

  /** The signature that a request for a file stands for, whoever made it. */
  static Signature signature(Head head) {
    return new Signature(
        Query.of(head, "path").orElse(""),
        head.method().equals("GET") ? "read" : "write",
        Query.of(head, "username").orElse(""),
        Query.of(head, "signature_expiration").map(Access::seconds));
  }

  private static long seconds(String text) {
    try {
      return Long.parseLong(text);
    } catch (NumberFormatException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "signature_expiration must be seconds of Unix time", e);
    }
  }

  /** Whether a request is for a file, and says by a signature that it may. */
  public static boolean isSigned(Head head) {
    return head.rawPath().equals(Envd.FILES) && Query.of(head, "signature").isPresent();
  }

  /** Whether a request for a file was signed with this token, however long ago. */
  public static boolean isSignedWith(Head head, String token) {
    return Query.of(head, "signature")
        .filter(given -> signature(head).matches(given, token))
        .isPresent();
  }

  /**
   * Lets a request in or not.
   *
   * @throws ForkdException UNAUTHENTICATED when it shows neither the token nor, for a file, a
   *     signature made with it
   */
  public void check(Head head, String token) {
    Optional<String> given = head.header(TOKEN);
    if (given.isPresent()) {
      if (!same(given.get(), token)) {
        throw new ForkdException(ErrorCode.UNAUTHENTICATED, "invalid access token");
      }
      return;
    }
    if (head.rawPath().equals(Envd.FILES)) {
      signature(head).check(Query.of(head, "signature"), token, clock.instant());
      return;
    }
    throw new ForkdException(
        ErrorCode.UNAUTHENTICATED, "missing access token; send it as X-Access-Token");
  }
}
