package dev.forkd.http.envd;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestAccount;
import dev.forkd.engine.GuestFiles;
import dev.forkd.http.Head;
import dev.forkd.http.Limits;
import io.helidon.http.HeaderNames;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Base64;
import java.util.Deque;
import java.util.Iterator;
import java.util.Optional;

/**
 * The guest's user on whose behalf something is done: the one that is named, else {@code user},
 * else, in guests without such an account, root. Paths that are not absolute are below the home.
 * Used by one thread.
 */
final class Acting {
  private static final String DEFAULT_USER = "user";
  private static final String ROOT = "root";
  private static final String BASIC = "Basic ";

  private final GuestFiles files;
  private Optional<GuestAccount> account = Optional.empty();

  private Acting(GuestFiles files) {
    this.files = files;
  }

  /**
   * The one that is named, or the default.
   *
   * @throws ForkdException UNAUTHENTICATED when the guest has no such user
   */
  static Acting as(GuestFiles files, Optional<String> user) {
    Acting acting = new Acting(files);
    user.filter(name -> !name.isEmpty())
        .ifPresent(name -> acting.account = Optional.of(acting.named(name)));
    return acting;
  }

  /** The one named by Basic authentication without a password; other schemes name nobody. */
  static Acting of(GuestFiles files, Head head) {
    return as(
        files,
        head.header(HeaderNames.AUTHORIZATION)
            .filter(value -> value.regionMatches(true, 0, BASIC, 0, BASIC.length()))
            .map(value -> basicUser(value.substring(BASIC.length()).strip())));
  }

  private static String basicUser(String base64) {
    try {
      String pair = new String(Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
      int colon = pair.indexOf(':');
      return colon < 0 ? pair : pair.substring(0, colon);
    } catch (IllegalArgumentException e) {
      throw unknown(base64, e);
    }
  }

  private static ForkdException unknown(String name, Throwable cause) {
    String shown = name.length() <= 100 ? name : name.substring(0, 100) + "…";
    return new ForkdException(
        ErrorCode.UNAUTHENTICATED, "invalid username: '" + shown + "'", cause);
  }

  private GuestAccount named(String name) {
    if (name.indexOf('\0') >= 0) {
      throw unknown(name.replace('\0', ' '), new IllegalArgumentException("NUL"));
    }
    try {
      return files.account(name);
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        throw unknown(name, e);
      }
      throw e;
    }
  }

  GuestAccount account() {
    if (account.isEmpty()) {
      try {
        account = Optional.of(files.account(DEFAULT_USER));
      } catch (ForkdException e) {
        if (e.code() != ErrorCode.NOT_FOUND) {
          throw e;
        }
        account = Optional.of(named(ROOT));
      }
    }
    return account.get();
  }

  /** A path as the guest knows it: absolute, without {@code .}, {@code ..} and double slashes. */
  String path(String given) {
    if (given.indexOf('\0') >= 0) {
      throw new ForkdException(ErrorCode.INVALID_ARGUMENT, "a path contains a NUL character");
    }
    if (given.length() > Limits.GUEST_PATH_CHARS_MAX) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "a path of " + given.length() + " characters; at most " + Limits.GUEST_PATH_CHARS_MAX);
    }
    if (given.startsWith("/")) {
      return clean(given);
    }
    if (given.isEmpty() || given.equals("~")) {
      return clean(account().home());
    }
    String below = given.startsWith("~/") ? given.substring(2) : given;
    return clean(account().home() + "/" + below);
  }

  private static String clean(String path) {
    Deque<String> names = new ArrayDeque<>();
    for (String name : path.split("/")) {
      switch (name) {
        case "", "." -> {}
        case ".." -> names.pollLast();
        default -> names.addLast(name);
      }
    }
    StringBuilder whole = new StringBuilder();
    for (Iterator<String> it = names.iterator(); it.hasNext(); ) {
      whole.append('/').append(it.next());
    }
    return whole.isEmpty() ? "/" : whole.toString();
  }
}
