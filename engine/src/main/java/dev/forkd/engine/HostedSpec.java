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
 * @param attributes words of the interface it was made through, which keeps in them what it needs
 * @param atEnd what happens at its end
 * @param resumesBySelf when paused, a request to it resumes it
 * @param secured requests to it need its access token
 */
public record HostedSpec(
    Tag snapshot,
    Duration timeout,
    Map<String, String> metadata,
    Map<String, String> env,
    Map<String, String> attributes,
    AtEnd atEnd,
    boolean resumesBySelf,
    boolean secured) {

  /** What happens to it at its end. */
  public enum AtEnd {
    KILL,
    /** It is paused with its memory. */
    PAUSE,
    /** It is paused without its memory; see {@link HostedSandboxes.PauseMode#DISK}. */
    PAUSE_DISK
  }

  public HostedSpec {
    metadata = Map.copyOf(metadata);
    env = Map.copyOf(env);
    attributes = Map.copyOf(attributes);
  }
}
