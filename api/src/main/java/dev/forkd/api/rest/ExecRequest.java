package dev.forkd.api.rest;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Body of {@code POST /v1/sandboxes/{id}/exec} and {@code …/exec/stream}.
 *
 * @param timeoutSecs 1 to 86400; 30 when absent
 * @param stdin text for its standard input; not together with stdin_base64
 * @param interactive stream only: standard input stays open for the session's stdin route
 */
public record ExecRequest(
    List<String> args,
    OptionalLong timeoutSecs,
    Map<String, String> env,
    Optional<String> cwd,
    Optional<String> user,
    Optional<String> stdin,
    Optional<String> stdinBase64,
    boolean background,
    boolean interactive) {
  public ExecRequest {
    if (args == null) {
      throw new IllegalArgumentException("missing field 'args'");
    }
    args = Wire.list(args, "args");
    env = Wire.map(env, "env");
  }
}
