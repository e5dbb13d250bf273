package dev.forkd.controller;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.EngineConfig;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.state.DataDir;
import dev.forkd.state.DataDirLock;
import java.time.Duration;
import java.util.Optional;
import java.util.function.LongSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Opens the engine although a daemon in the background owns the data directory: that one is asked
 * to go, and its sandboxes are adopted. A daemon in the foreground is somebody's choice and stays.
 */
final class HandOver {
  private static final Duration PATIENCE = Duration.ofSeconds(20);
  private static final Duration POLL_INTERVAL = Duration.ofMillis(50);
  private static final Logger LOG = LoggerFactory.getLogger(HandOver.class);

  private final DataDir dataDir;
  private final EngineOpener opener;
  private final LongSupplier nanoClock;

  HandOver(DataDir dataDir, EngineOpener opener, LongSupplier nanoClock) {
    this.dataDir = dataDir;
    this.opener = opener;
    this.nanoClock = nanoClock;
  }

  /** Opens; waits at most 20 s for a daemon in the background to go. */
  ForkdEngine open(EngineConfig config, boolean background) {
    long deadlineNanos = nanoClock.getAsLong() + PATIENCE.toNanos();
    boolean asked = false;
    while (true) {
      try {
        return opener.open(config);
      } catch (ForkdException e) {
        Optional<ProcessIdentity> owner =
            DataDirLock.owner(dataDir).filter(process -> !process.equals(ProcessIdentity.self()));
        boolean gone = owner.isEmpty() && asked;
        if (e.code() != ErrorCode.FAILED_PRECONDITION || (owner.isEmpty() && !gone)) {
          throw e;
        }
        Optional<DaemonFile> daemon = DaemonFile.ofLiveDaemon(dataDir.daemonFile());
        if (background || daemon.filter(d -> !d.background()).isPresent()) {
          throw inTheWay(owner, daemon, e);
        }
        if (nanoClock.getAsLong() >= deadlineNanos) {
          throw new ForkdException(
              ErrorCode.DEADLINE_EXCEEDED,
              "the daemon in the background "
                  + owner.map(process -> "(process " + process.pid() + ") ").orElse("")
                  + "did not give "
                  + dataDir.root()
                  + " up within "
                  + PATIENCE.toSeconds()
                  + " s; end it and try again",
              e);
        }
        // Without its file it is still starting; once it has one it can be asked.
        if (!asked && daemon.isPresent() && owner.equals(Optional.of(daemon.get().process()))) {
          LOG.info(
              "taking {} over from the daemon in the background, process {}",
              dataDir.root(),
              daemon.get().pid());
          asked = ProcessHandle.of(daemon.get().pid()).map(ProcessHandle::destroy).orElse(true);
        }
        pause();
      }
    }
  }

  private ForkdException inTheWay(
      Optional<ProcessIdentity> owner, Optional<DaemonFile> daemon, ForkdException cause) {
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION,
        "a forkd daemon "
            + owner.map(process -> "(process " + process.pid() + ") ").orElse("")
            + "owns "
            + dataDir.root()
            + daemon.map(d -> " and answers at " + d.url()).orElse("")
            + "; stop it, or choose another data directory with --data-dir",
        cause);
  }

  private static void pause() {
    try {
      Thread.sleep(POLL_INTERVAL);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while taking over", e);
    }
  }
}
