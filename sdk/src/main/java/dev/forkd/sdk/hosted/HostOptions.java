package dev.forkd.sdk.hosted;

import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * How a sandbox is hosted. Immutable; each method gives a changed copy.
 *
 * @param timeout until its end; whole seconds
 * @param metadata words to find it again by
 * @param env of every process in it
 * @param pausesAtEnd it is paused at its end instead of killed
 * @param resumesBySelf when paused, any request to it resumes it
 */
public record HostOptions(
    Duration timeout,
    Map<String, String> metadata,
    Map<String, String> env,
    boolean pausesAtEnd,
    boolean resumesBySelf) {
  /** Five minutes, nothing else. */
  public static final HostOptions DEFAULT =
      new HostOptions(Duration.ofMinutes(5), Map.of(), Map.of(), false, false);

  public HostOptions {
    metadata = Map.copyOf(metadata);
    env = Map.copyOf(env);
  }

  public HostOptions timeout(Duration limit) {
    return new HostOptions(limit, metadata, env, pausesAtEnd, resumesBySelf);
  }

  public HostOptions metadata(String name, String value) {
    return new HostOptions(timeout, and(metadata, name, value), env, pausesAtEnd, resumesBySelf);
  }

  public HostOptions env(String name, String value) {
    return new HostOptions(timeout, metadata, and(env, name, value), pausesAtEnd, resumesBySelf);
  }

  /** It is paused at its end, and any request to it resumes it. */
  public HostOptions pausing() {
    return new HostOptions(timeout, metadata, env, true, true);
  }

  private static Map<String, String> and(Map<String, String> words, String name, String value) {
    Map<String, String> more = new LinkedHashMap<>(words);
    more.put(name, value);
    return more;
  }

  Map<String, Object> wire(String template) {
    Map<String, Object> body = new LinkedHashMap<>();
    body.put("templateID", template);
    body.put("timeout", timeout.toSeconds());
    body.put("metadata", metadata);
    body.put("envVars", env);
    body.put("autoPause", pausesAtEnd);
    body.put("autoResume", Map.of("enabled", resumesBySelf));
    return body;
  }
}
