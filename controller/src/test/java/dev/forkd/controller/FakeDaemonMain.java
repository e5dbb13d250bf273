package dev.forkd.controller;

import dev.forkd.engine.EngineConfig;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.state.DataDir;
import dev.forkd.state.DataDirLock;
import dev.forkd.testkit.FakeEngine;

/** The daemon's program over a fake engine that owns its data directory as the real one does. */
public final class FakeDaemonMain {
  private FakeDaemonMain() {}

  static ForkdEngine open(EngineConfig config) {
    DataDirLock lock = DataDirLock.acquire(DataDir.open(config.dataDir()));
    return new FakeEngine(config.branchConcurrency()).withTemplate("python").onClose(lock::close);
  }

  public static void main(String[] args) {
    System.exit(ServeCommand.run(FakeDaemonMain::open, System.getenv(), Main.withoutVerb(args)));
  }
}
