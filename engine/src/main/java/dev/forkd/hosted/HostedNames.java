package dev.forkd.hosted;

import dev.forkd.api.Tag;
import java.security.SecureRandom;
import java.util.HexFormat;

/** Names that nobody can guess and no other has. */
final class HostedNames {
  private static final SecureRandom RANDOM = new SecureRandom();
  private static final String CHARS = "abcdefghijklmnopqrstuvwxyz0123456789";
  private static final int LENGTH = 19;
  private static final int TOKEN_BYTES = 20;

  private HostedNames() {}

  /** What a client may put into a host name: lowercase letters and digits, a letter first. */
  static String id() {
    return "i" + random();
  }

  /** For a snapshot that has no name of its own. */
  static Tag tag(String prefix) {
    return new Tag(prefix + "-" + random());
  }

  /** What requests show. */
  static String token() {
    byte[] bytes = new byte[TOKEN_BYTES];
    RANDOM.nextBytes(bytes);
    return HexFormat.of().formatHex(bytes);
  }

  private static String random() {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < LENGTH; i++) {
      text.append(CHARS.charAt(RANDOM.nextInt(CHARS.length())));
    }
    return text.toString();
  }
}
