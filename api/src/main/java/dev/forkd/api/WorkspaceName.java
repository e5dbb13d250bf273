package dev.forkd.api;

import java.util.regex.Pattern;

/** The name of a workspace: 1 to 64 ASCII letters, digits, dashes or underscores. */
public record WorkspaceName(String value) implements Comparable<WorkspaceName> {
  private static final Pattern LEGAL = Pattern.compile("[A-Za-z0-9_-]{1,64}");

  public WorkspaceName {
    if (!LEGAL.matcher(value).matches()) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "workspace name '"
              + (value.length() > 100 ? value.substring(0, 100) + "…" : value)
              + "' must be 1-64 chars, ASCII alnum or dash/underscore");
    }
  }

  /** Whether {@code text} could be a name at all. */
  public static boolean isLegal(String text) {
    return LEGAL.matcher(text).matches();
  }

  @Override
  public int compareTo(WorkspaceName other) {
    return value.compareTo(other.value);
  }

  @Override
  public String toString() {
    return value;
  }
}
