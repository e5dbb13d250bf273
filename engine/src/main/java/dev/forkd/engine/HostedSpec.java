package dev.forkd.engine;

import dev.forkd.api.Tag;
import java.time.Duration;
import java.util.Map;

/**
 * A hosted sandbox to make.
 *
 * @param snapshot forked for it
 * @param timeout until its end
 * @param metadata its owner's own words, for finding it again
 * @param env of every process that is started in it
 * @param pausesAtEnd it is paused at its end instead of killed
 * @param resumesBySelf when paused, a request to it resumes it
 * @param secured requests to it need its access token
 */
public record HostedSpec(
    Tag snapshot,
    Duration timeout,
    Map<String, String> metadata,
    Map<String, String> env,
    boolean pausesAtEnd,
    boolean resumesBySelf,
    boolean secured) {

  public HostedSpec {
    metadata = Map.copyOf(metadata);
    env = Map.copyOf(env);
  }
}
