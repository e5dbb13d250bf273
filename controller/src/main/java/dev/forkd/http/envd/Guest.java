package dev.forkd.http.envd;

import dev.forkd.api.SandboxId;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.GuestFiles;
import dev.forkd.engine.GuestProcesses;
import dev.forkd.engine.LogEntry;
import dev.forkd.http.Cut;
import java.util.Map;

/**
 * The sandbox that a request is for.
 *
 * @param id as the client names it
 * @param sandbox what it is at the moment
 * @param env of every process, before what its start asks for
 * @param stops tells when it stops
 */
public record Guest(
    String id, SandboxId sandbox, ForkdEngine engine, Map<String, String> env, Stops stops) {
  public Guest {
    env = Map.copyOf(env);
  }

  /** Tells when a sandbox stops. */
  @FunctionalInterface
  public interface Stops {
    /** Runs {@code action}, which must not block, when it stops. */
    Cut.Standing on(Runnable action);
  }

  GuestFiles files() {
    return engine.files(sandbox);
  }

  /** Adds to the sandbox's log. */
  void note(String message, Map<String, String> fields) {
    engine.hosted().note(id, LogEntry.Level.INFO, "process", message, fields);
  }

  GuestProcesses processes() {
    return engine.processes(sandbox);
  }
}
