package dev.forkd.controller;

import dev.forkd.engine.EngineConfig;
import dev.forkd.engine.ForkdEngine;

/** Opens the engine; another one in tests. */
@FunctionalInterface
interface EngineOpener {
  /** Throws FAILED_PRECONDITION when another process owns the data directory. */
  ForkdEngine open(EngineConfig config);
}
