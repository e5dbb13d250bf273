package dev.forkd.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.engine.WorkspaceView;
import dev.forkd.engine.Workspaces;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.Optional;

/**
 * Lets a paused one run again, with its memory or booted from its disk. When that fails it is
 * paused as before, and what was begun is ended: at once, or as soon as that is possible. All is
 * done in its turn.
 */
record Resumption(
    Workspaces workspaces, HostedHost host, HostedRows rows, Alarms alarms, InstantSource clock) {
  private static final System.Logger LOG = System.getLogger(Resumption.class.getName());

  /** Longer than a resumption takes. */
  private static final Duration SPARE = Duration.ofMinutes(5);

  /** What runs now, and whether it was booted for that. */
  record Begun(SandboxId sandbox, boolean booted) {}

  /** Its workspace, if nobody has deleted it. */
  Optional<WorkspaceView> workspace(Hosted hosted) {
    try {
      return Optional.of(workspaces.get(hosted.workspace()));
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        return Optional.empty();
      }
      throw e;
    }
  }

  /**
   * @param atEnd what is to be done at its new end
   */
  Begun resume(Hosted hosted, Duration timeout, boolean fresh, Runnable atEnd) {
    Instant started = hosted.started();
    Instant paused = hosted.end();
    try {
      return begin(hosted, timeout, fresh, atEnd);
    } catch (RuntimeException e) {
      // Nobody was inside, so all that it did meanwhile may be forgotten.
      hosted.alarm(Optional.empty());
      hosted.paused(started, paused);
      try {
        clear(hosted);
        rows.save(hosted, true);
      } catch (RuntimeException left) {
        e.addSuppressed(left);
        alarms.again(hosted, () -> clearQuietly(hosted));
      }
      throw e;
    }
  }

  private Begun begin(Hosted hosted, Duration timeout, boolean fresh, Runnable atEnd) {
    // Should this process end before all is done, the next one must not find that its time is over.
    hosted.endsAt(clock.instant().plus(timeout).plus(SPARE));
    rows.save(hosted, true);
    if (fresh && !hosted.diskOnly()) {
      // Its disk is whole only once what its memory holds for it is written.
      host.endProcesses(start(hosted));
      workspaces.suspend(hosted.workspace(), true);
      hosted.leaves(false);
      hosted.keepsDiskOnly();
    }
    boolean boots = hosted.diskOnly();
    if (boots) {
      workspaces.reboot(hosted.workspace());
    }
    SandboxId sandbox = start(hosted);
    Instant now = clock.instant();
    hosted.lives(now, now.plus(timeout));
    rows.save(hosted, false);
    alarms.atEnd(hosted, atEnd);
    hosted.leaves(false);
    hosted.goesOn(sandbox);
    return new Begun(sandbox, boots);
  }

  private SandboxId start(Hosted hosted) {
    SandboxId sandbox =
        workspace(hosted)
            // Somebody has resumed the workspace by its name.
            .filter(seen -> seen.status() == WorkspaceView.Status.RUNNING)
            .orElseGet(() -> workspaces.resume(hosted.workspace()))
            .liveSandbox()
            .orElseThrow();
    hosted.leaves(true);
    return sandbox;
  }

  /** Ends what a resumption that failed has left running. */
  void clear(Hosted hosted) {
    if (hosted.leftover()) {
      if (workspace(hosted).isPresent()) {
        workspaces.discard(hosted.workspace());
      }
      hosted.leaves(false);
    }
  }

  private void clearQuietly(Hosted hosted) {
    try (Hosted.Turn _ = hosted.turn()) {
      clear(hosted);
    } catch (RuntimeException e) {
      if (!hosted.gone()) {
        LOG.log(System.Logger.Level.WARNING, "clear {0}: {1}", hosted.id(), e.getMessage());
        alarms.again(hosted, () -> clearQuietly(hosted));
      }
    }
  }
}
