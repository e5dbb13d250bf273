package dev.forkd.local;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.branch.Brancher;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.ChildOutcome;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.ForkSpec;
import dev.forkd.engine.SandboxView;
import dev.forkd.fork.Forker;
import dev.forkd.fork.Zygotes;
import dev.forkd.sandbox.Door;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.template.Rebooter;
import dev.forkd.workspace.WorkspaceHost;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;

/** What workspaces need, done by this engine's parts. */
record LocalWorkspaceHost(
    Forker forker,
    Brancher brancher,
    Sandboxes sandboxes,
    SnapshotCatalog snapshots,
    Zygotes zygotes,
    Rebooter rebooter)
    implements WorkspaceHost {
  /** For requests under way when a suspension begins. */
  private static final Duration PATIENCE = Duration.ofSeconds(10);

  @Override
  public SandboxId fork(Tag snapshot, OptionalLong memoryLimitMib, Claim claim) {
    ForkSpec one = new ForkSpec(snapshot, 1, memoryLimitMib, false, false, true, "emulation");
    return switch (forker.fork(one, (tx, ids) -> claim.claim(tx, ids.getFirst())).getFirst()) {
      case ChildOutcome.Started(SandboxView sandbox) -> sandbox.id();
      case ChildOutcome.Failed(ErrorCode code, String message) ->
          throw new ForkdException(code, message);
    };
  }

  @Override
  public Optional<Living> living(SandboxId id) {
    return sandboxes
        .find(id)
        .filter(Sandbox::alive)
        .map(sandbox -> sandbox.view(false))
        .filter(sandbox -> sandbox.pid().isPresent())
        .map(sandbox -> new Living(id, sandbox.lastBranchMemoryPath()));
  }

  @Override
  public void kill(SandboxId id) {
    var _ =
        unlessGone(() -> {
          sandboxes.kill(id);
          return id;
        });
  }

  @Override
  public Hold hold(SandboxId id) {
    Sandbox sandbox = sandboxes.get(id);
    return new Shut(sandbox, sandbox.shutDoor(PATIENCE));
  }

  private final class Shut implements Hold {
    private final Sandbox sandbox;
    private final Door.Shut door;

    Shut(Sandbox sandbox, Door.Shut door) {
      this.sandbox = sandbox;
      this.door = door;
    }

    @Override
    public void save(Tag tag, boolean diff) {
      // Each round of suspend and resume adds a layer, and no sandbox lives to merge them later.
      brancher.mergeIfDeep(sandbox);
      brancher.branch(
          sandbox,
          new BranchSpec(
              Optional.of(tag),
              diff ? BranchSpec.Mode.DIFF : BranchSpec.Mode.FULL,
              Optional.empty()));
    }

    @Override
    public void close() {
      door.close();
    }
  }

  @Override
  public void reboot(Tag from, Tag to) {
    rebooter.reboot(from, to);
  }

  @Override
  public Optional<Saved> snapshot(Tag tag) {
    return unlessGone(() -> snapshots.get(tag))
        .map(found -> new Saved(tag, found.branchedFrom(), found.bootable(), found.dir()));
  }

  @Override
  public boolean remove(Tag tag) {
    try {
      var _ =
          unlessGone(() -> {
            snapshots.delete(tag, DeleteMode.REFUSE);
            return tag;
          });
      zygotes.prune();
      return true;
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.FAILED_PRECONDITION) {
        return false;
      }
      throw e;
    }
  }

  private static <T> Optional<T> unlessGone(java.util.function.Supplier<T> work) {
    try {
      return Optional.of(work.get());
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        return Optional.empty();
      }
      throw e;
    }
  }
}
