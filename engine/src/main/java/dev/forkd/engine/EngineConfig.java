package dev.forkd.engine;

import java.nio.file.Path;

/**
 * How to run an engine.
 *
 * @param dataDir everything it keeps; made if it is not there
 * @param branchConcurrency branches at once, at least 1; more are refused
 * @param killOnExit end all sandboxes on close rather than leave them for the next owner
 */
public record EngineConfig(Path dataDir, int branchConcurrency, boolean killOnExit) {
  public static final int DEFAULT_BRANCH_CONCURRENCY = 4;
}
