package dev.forkd.api;

import java.util.regex.Pattern;

/**
 * The id of a sandbox: {@code sb} and lower-case hexadecimal digits, so that it is a legal host
 * name, file name, cgroup name and URL segment as it stands.
 */
public record SandboxId(String value) implements Comparable<SandboxId> {
  private static final Pattern LEGAL = Pattern.compile("[a-z0-9]{1,40}");

  public SandboxId {
    if (!LEGAL.matcher(value).matches()) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "sandbox id '" + value + "' is not 1 to 40 lower-case letters and digits");
    }
  }

  /** Whether {@code text} could be an id at all. */
  public static boolean isLegal(String text) {
    return LEGAL.matcher(text).matches();
  }

  @Override
  public int compareTo(SandboxId other) {
    return value.compareTo(other.value);
  }

  @Override
  public String toString() {
    return value;
  }
}
