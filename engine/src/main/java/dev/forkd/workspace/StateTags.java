package dev.forkd.workspace;

import dev.forkd.api.Tag;
import dev.forkd.api.WorkspaceName;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/**
 * What the saved states of a workspace are called: {@code ws-NAME-state}, then {@code
 * ws-NAME-state-2} and so on, never the same twice, so that a new one can be made while the old one
 * is there. A name too long for that is cut, and told from others by its hash.
 */
final class StateTags {
  private static final int TAG_CHARS_MAX = 64;
  private static final int HASH_CHARS = 8;

  private StateTags() {}

  /**
   * @param generation 1 and up
   */
  static Tag of(WorkspaceName name, long generation) {
    String end = generation == 1 ? "-state" : "-state-" + generation;
    String whole = "ws-" + name + end;
    if (whole.length() <= TAG_CHARS_MAX) {
      return new Tag(whole);
    }
    String mark = "-" + hash(name.value());
    int room = TAG_CHARS_MAX - "ws-".length() - mark.length() - end.length();
    return new Tag("ws-" + name.value().substring(0, room) + mark + end);
  }

  private static String hash(String text) {
    try {
      byte[] digest =
          MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
      return HexFormat.of().formatHex(digest).substring(0, HASH_CHARS);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }
}
