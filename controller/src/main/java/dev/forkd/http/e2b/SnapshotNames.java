package dev.forkd.http.e2b;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.Snapshot;
import java.security.SecureRandom;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Snapshots of hosted sandboxes. Clients may give several the same name and mean the youngest by
 * it, and ask which are of one sandbox; the tag says both: {@code snap-SANDBOX-RANDOM}, and {@code
 * -NAME} behind it.
 */
final class SnapshotNames {
  private static final Pattern TAG = Pattern.compile("snap-([a-z0-9]{20})-([a-z0-9]{6})(?:-(.+))?");
  private static final Pattern NAME = Pattern.compile("[A-Za-z0-9_-]{1,31}");
  private static final String DEFAULT = ":default";
  private static final SecureRandom RANDOM = new SecureRandom();
  private static final String CHARS = "abcdefghijklmnopqrstuvwxyz0123456789";
  private static final int RANDOM_CHARS = 6;

  private SnapshotNames() {}

  /** A tag that no other snapshot has. */
  static Tag newTag(String sandbox, Optional<String> name) {
    StringBuilder tag = new StringBuilder("snap-").append(sandbox).append('-');
    for (int i = 0; i < RANDOM_CHARS; i++) {
      tag.append(CHARS.charAt(RANDOM.nextInt(CHARS.length())));
    }
    name.map(SnapshotNames::plain).ifPresent(plain -> tag.append('-').append(plain));
    return new Tag(tag.toString());
  }

  private static String plain(String name) {
    String plain = withoutDefault(name);
    if (!NAME.matcher(plain).matches()) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "the snapshot name '"
              + (name.length() > 100 ? name.substring(0, 100) + "…" : name)
              + "' must be 1 to 31 letters, digits, dashes or underscores");
    }
    return plain;
  }

  /** Clients may name the only version there is. */
  static String withoutDefault(String name) {
    return name.endsWith(DEFAULT) ? name.substring(0, name.length() - DEFAULT.length()) : name;
  }

  /** Those of hosted sandboxes, the youngest first. */
  static List<Snapshot> all(List<Snapshot> snapshots) {
    return snapshots.stream()
        .filter(snapshot -> TAG.matcher(snapshot.tag().value()).matches())
        .sorted(
            Comparator.comparingLong(Snapshot::createdAtUnix)
                .reversed()
                .thenComparing(snapshot -> snapshot.tag().value()))
        .toList();
  }

  static boolean isOf(Tag tag, String sandbox) {
    Matcher matcher = TAG.matcher(tag.value());
    return matcher.matches() && matcher.group(1).equals(sandbox);
  }

  /** What its maker called it. */
  static Optional<String> name(Tag tag) {
    Matcher matcher = TAG.matcher(tag.value());
    return matcher.matches() ? Optional.ofNullable(matcher.group(3)) : Optional.empty();
  }

  static Messages.Snapshot view(Tag tag) {
    return new Messages.Snapshot(
        tag.value(), name(tag).map(name -> List.of(name + DEFAULT)).orElse(List.of()));
  }
}
