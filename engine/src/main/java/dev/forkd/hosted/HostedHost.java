package dev.forkd.hosted;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.GuestUsage;
import dev.forkd.engine.Snapshot;

/** What hosting needs of sandboxes and snapshots beyond workspaces. */
public interface HostedHost {
  /**
   * The hardware of children of a snapshot.
   *
   * @param memoryMib guest memory
   * @param diskMib root disk
   */
  record Size(int memoryMib, int diskMib) {}

  /**
   * @throws dev.forkd.api.ForkdException NOT_FOUND
   */
  Size size(Tag snapshot);

  /** Whether the sandbox is there and has not failed. */
  boolean living(SandboxId sandbox);

  /** Whether its guest does something at the moment. */
  boolean working(SandboxId sandbox);

  /** What its guest uses now. */
  GuestUsage usage(SandboxId sandbox);

  /** Saves a running sandbox as a snapshot; it goes on. */
  Snapshot branch(SandboxId sandbox, Tag tag);

  /** Writes the guest's disk down. */
  void writeDisk(SandboxId sandbox);

  /** Boots the disk of a snapshot and saves what comes up. */
  Snapshot reboot(Tag from, Tag to);

  /** Ends all the user's processes and writes the guest's disk down. */
  void endProcesses(SandboxId sandbox);

  /** Removes a snapshot unless others stand on it; one that is gone is fine. */
  void remove(Tag tag);
}
