package dev.forkd.engine;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A command to run in a guest.
 *
 * @param args program and arguments, at least one; looked up in PATH
 * @param env added to the guest's default environment
 * @param cwd working folder; the image's, or else the user's home when empty
 * @param user name, uid, {@code name:group} or {@code uid:gid}; the image's, or else root when
 *     empty
 * @param stdin given at once and then closed, for {@link ForkdEngine#exec}; ignored for sessions
 * @param interactive the caller will write stdin; otherwise it is empty
 * @param timeout after which the process group is killed
 * @param background do not wait: answer with the process id
 */
public record ExecSpec(
    List<String> args,
    Map<String, String> env,
    Optional<String> cwd,
    Optional<String> user,
    byte[] stdin,
    boolean interactive,
    Duration timeout,
    boolean background,
    long outputLimitBytes) {
  /** Output kept of each stream by {@link ForkdEngine#exec}; the rest is dropped and said so. */
  public static final long DEFAULT_OUTPUT_LIMIT_BYTES = 16L << 20;

  public static final Duration DEFAULT_TIMEOUT = Duration.ofSeconds(30);
  public static final Duration MAX_TIMEOUT = Duration.ofHours(24);

  public ExecSpec {
    args = List.copyOf(args);
    env = Map.copyOf(env);
  }

  /** A plain command with the guest's defaults and ours. */
  public static ExecSpec of(List<String> args, Duration timeout) {
    return new ExecSpec(
        args,
        Map.of(),
        Optional.empty(),
        Optional.empty(),
        new byte[0],
        false,
        timeout,
        false,
        DEFAULT_OUTPUT_LIMIT_BYTES);
  }

  /** The same, run by this user. */
  public ExecSpec by(String name) {
    return new ExecSpec(
        args,
        env,
        cwd,
        Optional.of(name),
        stdin,
        interactive,
        timeout,
        background,
        outputLimitBytes);
  }
}
