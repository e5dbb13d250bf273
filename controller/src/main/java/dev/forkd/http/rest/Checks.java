package dev.forkd.http.rest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.ExecSpec;
import dev.forkd.http.Limits;
import java.time.Duration;
import java.util.OptionalLong;

/** Checks of values that several routes share. */
final class Checks {
  private Checks() {}

  static ForkdException invalid(String message) {
    return new ForkdException(ErrorCode.INVALID_ARGUMENT, message);
  }

  /** A number in its bounds, both included. */
  static long inRange(String name, long value, long min, long max) {
    if (value < min || value > max) {
      throw invalid(name + " is " + value + "; it must be " + min + " to " + max);
    }
    return value;
  }

  /** A limit on the host memory of a sandbox. */
  static void memoryLimit(OptionalLong mib) {
    mib.ifPresent(value -> inRange("memory_limit_mib", value, 1, 1L << 24));
  }

  /** What the published clients may ask for, and is not offered. */
  static void noNetns(boolean perChildNetns) {
    if (perChildNetns) {
      throw new ForkdException(
          ErrorCode.UNIMPLEMENTED, "guests have no network yet; leave 'per_child_netns' out");
    }
  }

  /** The time limit of a command or an evaluation. */
  static Duration timeout(OptionalLong seconds) {
    return seconds.isEmpty()
        ? ExecSpec.DEFAULT_TIMEOUT
        : Duration.ofSeconds(
            inRange("timeout_secs", seconds.getAsLong(), 1, ExecSpec.MAX_TIMEOUT.toSeconds()));
  }

  /** A text that can be handed to the guest's kernel. */
  static String noNul(String name, String value) {
    if (value.indexOf('\0') >= 0) {
      throw invalid(name + " contains a NUL character, which no program can receive");
    }
    return value;
  }

  /** A path in a guest. */
  static String guestPath(String name, String path) {
    if (!path.startsWith("/")) {
      throw invalid(
          name
              + " is '"
              + (path.length() > 100 ? path.substring(0, 100) + "…" : path)
              + "'; send an absolute path");
    }
    if (path.length() > Limits.GUEST_PATH_CHARS_MAX) {
      throw invalid(
          name + " has " + path.length() + " characters; at most " + Limits.GUEST_PATH_CHARS_MAX);
    }
    return noNul(name, path);
  }
}
