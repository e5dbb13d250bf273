package dev.forkd.engine;

import java.nio.file.Path;

/**
 * How to run an engine.
 *
 * @param dataDir everything it keeps; made if it is not there
 * @param branchConcurrency branches at once, at least 1; more are refused
 * @param killOnExit end all sandboxes on close rather than leave them for the next owner
 * @param queueMax requests that may wait for a core where guests are emulated, at least 1; more are
 *     refused
 */
public record EngineConfig(Path dataDir, int branchConcurrency, boolean killOnExit, int queueMax) {
  public static final int DEFAULT_BRANCH_CONCURRENCY = 4;

  /** Two requests for each of a thousand sandboxes. */
  public static final int DEFAULT_QUEUE_MAX = 2048;

  /** With the default queue. */
  public EngineConfig(Path dataDir, int branchConcurrency, boolean killOnExit) {
    this(dataDir, branchConcurrency, killOnExit, DEFAULT_QUEUE_MAX);
  }
}
