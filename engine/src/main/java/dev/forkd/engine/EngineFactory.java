package dev.forkd.engine;

import dev.forkd.local.EngineStart;

/** Opens engines. */
public final class EngineFactory {
  private EngineFactory() {}

  /**
   * Takes a data directory over: adopts sandboxes that live, finishes or undoes what a former owner
   * left half done, and removes what belongs to nobody.
   *
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when another process owns the
   *     directory, or QEMU is missing or too old
   */
  public static ForkdEngine open(EngineConfig config) {
    return EngineStart.open(config);
  }
}
