package dev.forkd.http.e2b;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.Snapshot;
import java.security.SecureRandom;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Snapshots of hosted sandboxes. Clients may give several the same name and mean the youngest by
 * it, and ask which are of one sandbox; the tag says both: {@code snap-SANDBOX-RANDOM}, and {@code
 * -NAME} behind it. A name is {@code name} or {@code name:version}, in small letters whatever the
 * client writes; {@code default} is the version of those that have none. In the tag a C stands for
 * the colon and a D for a dot. A project before the name ({@code project/name}) is left out: there
 * is but one.
 */
final class SnapshotNames {
  private static final Pattern TAG = Pattern.compile("snap-([a-z0-9]{20})-([a-z0-9]{6})(?:-(.+))?");
  private static final Pattern NAME =
      Pattern.compile("(?:[a-z0-9_-]+/)?([a-z0-9_-]+(?::[a-z0-9_.-]+)?)");

  /** What the tag has room for. */
  private static final int NAME_CHARS_MAX = 31;

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
    name.map(SnapshotNames::checked)
        .ifPresent(plain -> tag.append('-').append(plain.replace(':', 'C').replace('.', 'D')));
    return new Tag(tag.toString());
  }

  private static String checked(String name) {
    return plain(name)
        .filter(plain -> plain.length() <= NAME_CHARS_MAX)
        .orElseThrow(() ->
            new ForkdException(
                ErrorCode.INVALID_ARGUMENT,
                "the snapshot name '"
                    + (name.length() > 100 ? name.substring(0, 100) + "…" : name)
                    + "' must be letters, digits, dashes or underscores, and may have a version of"
                    + " these and dots behind a colon: 1 to "
                    + NAME_CHARS_MAX
                    + " characters"));
  }

  /** As it is kept; empty when it cannot be a name. */
  private static Optional<String> plain(String name) {
    Matcher matcher = NAME.matcher(withoutDefault(name).toLowerCase(Locale.ROOT));
    return matcher.matches() ? Optional.of(matcher.group(1)) : Optional.empty();
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
    return matcher.matches()
        ? Optional.ofNullable(matcher.group(3))
            .map(name -> name.replace('C', ':').replace('D', '.'))
        : Optional.empty();
  }

  /** Whether a client means it by that: its name, or its id. */
  static boolean isNamed(Tag tag, String wanted) {
    return tag.value().equals(withoutDefault(wanted))
        || plain(wanted).filter(plain -> name(tag).equals(Optional.of(plain))).isPresent();
  }

  static Messages.Snapshot view(Tag tag) {
    return new Messages.Snapshot(
        tag.value(),
        name(tag)
            .map(name -> List.of(name.indexOf(':') < 0 ? name + DEFAULT : name))
            .orElse(List.of()));
  }
}
