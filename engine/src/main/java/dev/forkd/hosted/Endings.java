package dev.forkd.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Threads;
import dev.forkd.engine.LogEntry;
import dev.forkd.engine.WorkspaceView;
import dev.forkd.engine.Workspaces;
import java.time.InstantSource;
import java.util.Map;
import java.util.Optional;

/** How hosted sandboxes come to be no more: somebody kills them, or they have ended already. */
final class Endings {
  private static final System.Logger LOG = System.getLogger(Endings.class.getName());

  /** What endings need of hosting. */
  record Parts(
      Workspaces workspaces,
      HostedHost host,
      HostedRows rows,
      Resumption resumption,
      Alarms alarms,
      Chronicle chronicle,
      InstantSource clock) {}

  private final Map<String, Hosted> all;
  private final Parts parts;
  private volatile boolean closed;

  /**
   * @param all those there are, by id; one that has ended is taken out
   */
  Endings(Map<String, Hosted> all, Parts parts) {
    this.all = all;
    this.parts = parts;
  }

  /** One whose sandbox has failed, or was killed by other means, is over. */
  boolean endedByItself(Hosted hosted) {
    if (!isLost(hosted)) {
      return false;
    }
    note(hosted, LogEntry.Level.ERROR, "has failed, or was ended");
    Threads.virtual("end-" + hosted.id(), () -> endQuietly(hosted));
    return true;
  }

  private boolean isLost(Hosted hosted) {
    Optional<SandboxId> sandbox = hosted.sandbox();
    return sandbox.isPresent()
        && !parts.host().living(sandbox.get())
        && !followsWorkspace(hosted, sandbox.get())
        // Asked last: what this process lets go of as it ends looks lost, and is not.
        && !closed;
  }

  /**
   * Whoever suspends or resumes its workspace by the workspace's name pauses or resumes it. So does
   * one of which nobody can tell now: its end would take along what it may have been saved as.
   */
  private boolean followsWorkspace(Hosted hosted, SandboxId former) {
    try (Hosted.Turn _ = hosted.turnAtOnce()) {
      if (!hosted.sandbox().equals(Optional.of(former))) {
        return true; // It was paused or resumed here meanwhile.
      }
      Optional<WorkspaceView> workspace = parts.resumption().workspace(hosted);
      Optional<SandboxId> next = workspace.flatMap(WorkspaceView::liveSandbox);
      if (next.filter(parts.host()::living).isPresent()) {
        hosted.stops();
        hosted.goesOn(next.get());
        return true;
      }
      if (workspace.filter(seen -> seen.status() == WorkspaceView.Status.SUSPENDED).isEmpty()) {
        return false;
      }
      hosted.stops();
      hosted.alarm(Optional.empty());
      hosted.paused(parts.clock().instant(), false);
      parts.rows().save(hosted, true);
      note(hosted, LogEntry.Level.INFO, "paused, since its workspace was suspended");
      return true;
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        return false;
      }
      // Who else has the turn leaves it as it should be; what has failed is asked again.
      if (e.code() != ErrorCode.ABORTED) {
        LOG.log(System.Logger.Level.WARNING, "what became of {0}: {1}", hosted.id(), e.message());
      }
      return true;
    }
  }

  private void endQuietly(Hosted hosted) {
    try (Hosted.Turn _ = hosted.turn()) {
      // Asked again: it may have been paused or resumed meanwhile, and only now it stays as it is.
      if (hosted.ending() || isLost(hosted)) {
        kill(hosted.id());
      }
    } catch (ForkdException e) {
      if (hosted.gone()) {
        return;
      }
      LOG.log(System.Logger.Level.WARNING, "end {0}: {1}", hosted.id(), e.message());
      if (hosted.ending()) {
        tryAgain(hosted);
      }
    }
  }

  /** See {@link dev.forkd.engine.HostedSandboxes#kill}. */
  void kill(String id) {
    Hosted hosted = Optional.ofNullable(all.get(id)).orElseThrow(() -> HostedKeeper.notFound(id));
    // What streams to it ends at once, also while somebody pauses it.
    hosted.ends();
    try (Hosted.Turn _ = hosted.turn()) {
      hosted.stops();
      hosted.alarm(Optional.empty());
      remove(hosted);
    } catch (RuntimeException e) {
      if (!hosted.gone()) {
        tryAgain(hosted);
      }
      throw e;
    }
  }

  /** Nobody finds it any more, so nobody else would. */
  private void tryAgain(Hosted hosted) {
    parts.alarms().removal(hosted, () -> endQuietly(hosted));
  }

  /** Removes all of one whose turn the caller has. */
  void remove(Hosted hosted) {
    try {
      // Also one that nobody sees any more, since its deletion has begun and not ended.
      parts.workspaces().delete(hosted.workspace());
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.NOT_FOUND) {
        throw e;
      }
    }
    parts.rows().forget(hosted.id());
    hosted.goes();
    all.remove(hosted.id());
    note(hosted, LogEntry.Level.INFO, "ended");
    parts.chronicle().end(hosted.id());
  }

  private void note(Hosted hosted, LogEntry.Level level, String message) {
    parts.chronicle().note(hosted.id(), level, "sandbox", message, Map.of());
  }

  /** From now on sandboxes are let go of, so none is taken for lost any more. */
  void close() {
    closed = true;
  }
}
