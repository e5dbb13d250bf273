package dev.forkd.api;

import java.util.regex.Pattern;

/** The name of a snapshot or template: 1 to 64 ASCII letters, digits, dashes or underscores. */
public record Tag(String value) implements Comparable<Tag> {
  private static final Pattern LEGAL = Pattern.compile("[A-Za-z0-9_-]{1,64}");

  public Tag {
    if (!LEGAL.matcher(value).matches()) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "tag '" + value + "' must be 1-64 chars, ASCII alnum or dash/underscore");
    }
  }

  @Override
  public int compareTo(Tag other) {
    return value.compareTo(other.value);
  }

  @Override
  public String toString() {
    return value;
  }
}
