package dev.forkd.workspace;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.state.Tx;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;

/** What workspaces need of sandboxes and snapshots. Failures are ForkdExceptions. */
public interface WorkspaceHost {
  /** Writes down whose sandbox it is, in the transaction that writes down the sandbox. */
  @FunctionalInterface
  interface Claim {
    void claim(Tx tx, SandboxId id);
  }

  /**
   * Forks one sandbox; nothing of it is left when that fails.
   *
   * @param claim runs once, before anything is made that would outlive this process
   */
  SandboxId fork(Tag snapshot, OptionalLong memoryLimitMib, Claim claim);

  /** A sandbox that has not failed. */
  record Living(SandboxId id, Optional<Path> lastBranchMemoryPath) {}

  /** The sandbox, if it is there and has not failed. */
  Optional<Living> living(SandboxId id);

  /** Ends a sandbox and removes all it holds; one that is gone already is fine. */
  void kill(SandboxId id);

  /**
   * Keeps new requests from a sandbox and waits a while for those under way.
   *
   * @throws dev.forkd.api.ForkdException NOT_FOUND when there is none, UNAVAILABLE when it has
   *     failed, FAILED_PRECONDITION when requests do not end
   */
  Hold hold(SandboxId id);

  /** A sandbox that no request changes any more; closing lets requests in again. */
  interface Hold extends AutoCloseable {
    /** Saves the sandbox; it is durable on return. */
    void save(Tag tag, boolean diff);

    @Override
    void close();
  }

  /** Boots the disk of a snapshot and saves what comes of it; it is durable on return. */
  void reboot(Tag from, Tag to);

  /**
   * A snapshot.
   *
   * @param branchedFrom empty for a template, and where that is not known
   * @param usable it is whole, so that sandboxes can be forked from it
   */
  record Saved(Tag tag, Optional<SandboxId> branchedFrom, boolean usable, Path dir) {}

  /** The snapshot, in whatever state it is. */
  Optional<Saved> snapshot(Tag tag);

  /**
   * Removes a snapshot; one that is gone already is fine.
   *
   * @return false when it was kept because other snapshots name it as their parent
   */
  boolean remove(Tag tag);
}
