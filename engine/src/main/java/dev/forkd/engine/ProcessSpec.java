package dev.forkd.engine;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A process that goes on when nobody listens to it any more.
 *
 * @param args program and arguments, at least one; looked up in the PATH it will have
 * @param env added to the guest's default environment
 * @param cwd working folder; the image's, or else the user's home when empty
 * @param user name, uid, {@code name:group} or {@code uid:gid}; the image's, or else root when
 *     empty
 * @param terminal its three streams are one terminal of this size; three pipes when empty
 * @param input its standard input stays open until it is closed; otherwise it reads nothing. A
 *     terminal always has one
 * @param label another name for it besides its process id; need not be unique
 * @param lifetime after which its process group is killed; empty is no limit
 */
public record ProcessSpec(
    List<String> args,
    Map<String, String> env,
    Optional<String> cwd,
    Optional<String> user,
    Optional<TerminalSize> terminal,
    boolean input,
    Optional<String> label,
    Optional<Duration> lifetime) {

  public ProcessSpec {
    args = List.copyOf(args);
    env = Map.copyOf(env);
  }
}
