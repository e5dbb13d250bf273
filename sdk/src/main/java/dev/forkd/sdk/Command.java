package dev.forkd.sdk;

import dev.forkd.api.rest.ExecRequest;
import java.time.Duration;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * A command to run in a sandbox. Immutable; each method gives a changed copy.
 *
 * <pre>{@code
 * Command.of("make", "test").cwd("/src").env("CI", "1").timeout(Duration.ofMinutes(10))
 * }</pre>
 *
 * @param timeout 1 s to 24 h, after which the process group is killed; seconds count
 */
public record Command(
    List<String> args,
    Map<String, String> env,
    Optional<String> cwd,
    Optional<String> user,
    byte[] stdin,
    Duration timeout,
    boolean background,
    boolean interactive) {
  /** The time limit when none is set. */
  public static final Duration DEFAULT_TIMEOUT = Duration.ofSeconds(30);

  public Command {
    args = List.copyOf(args);
    env = Map.copyOf(env);
    stdin = stdin.clone();
  }

  /** A program, looked up in the guest's PATH, and its arguments. */
  public static Command of(String program, String... arguments) {
    List<String> args = new java.util.ArrayList<>(arguments.length + 1);
    args.add(program);
    args.addAll(List.of(arguments));
    return of(args);
  }

  /** A program and its arguments. */
  public static Command of(List<String> args) {
    return new Command(
        args,
        Map.of(),
        Optional.empty(),
        Optional.empty(),
        new byte[0],
        DEFAULT_TIMEOUT,
        false,
        false);
  }

  /** A line for {@code /bin/sh}. */
  public static Command shell(String line) {
    return of("/bin/sh", "-c", line);
  }

  /** With one more variable in its environment. */
  public Command env(String name, String value) {
    Map<String, String> more = new LinkedHashMap<>(env);
    more.put(name, value);
    return new Command(args, more, cwd, user, stdin, timeout, background, interactive);
  }

  /** In this folder of the guest. */
  public Command cwd(String folder) {
    return new Command(
        args, env, Optional.of(folder), user, stdin, timeout, background, interactive);
  }

  /** As this user of the guest: a name or a number. */
  public Command user(String name) {
    return new Command(args, env, cwd, Optional.of(name), stdin, timeout, background, interactive);
  }

  /** With these bytes as its standard input, which then ends. */
  public Command stdin(byte[] bytes) {
    return new Command(args, env, cwd, user, bytes, timeout, background, interactive);
  }

  /** With another time limit. */
  public Command timeout(Duration limit) {
    return new Command(args, env, cwd, user, stdin, limit, background, interactive);
  }

  /** Not waited for: the answer has its process id, and its output goes nowhere. */
  public Command inBackground() {
    return new Command(args, env, cwd, user, stdin, timeout, true, interactive);
  }

  /**
   * With a standard input that stays open until {@link RunningCommand#closeStdin()}; only for
   * {@link Sandbox#start}.
   */
  public Command withOpenStdin() {
    return new Command(args, env, cwd, user, stdin, timeout, background, true);
  }

  ExecRequest wire() {
    return new ExecRequest(
        args,
        OptionalLong.of(Math.max(1, timeout.plusNanos(999_999_999).toSeconds())),
        env,
        cwd,
        user,
        Optional.empty(),
        stdin.length == 0
            ? Optional.empty()
            : Optional.of(Base64.getEncoder().encodeToString(stdin)),
        background,
        interactive);
  }
}
