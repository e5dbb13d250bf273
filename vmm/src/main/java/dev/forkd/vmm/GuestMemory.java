package dev.forkd.vmm;

import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;

/**
 * A guest's memory, seen from the host without the monitor's help. What is read is only consistent
 * while the VM is paused.
 */
public interface GuestMemory {
  /** Size of guest memory. */
  long sizeBytes();

  /**
   * The pages the guest has written since it was restored: those no longer backed by the shared
   * image, whether in memory or swapped out.
   */
  PageRuns diverged();

  /**
   * Of the diverged pages, the bytes of those that no other process shares: a copy of a VM begins
   * with the diverged pages of its source, which both have in common until one of them writes.
   */
  long ownBytes();

  /** Copies {@code pages} into {@code into}, packed one after the other from its start. */
  void read(PageRuns pages, PageBuffer into);
}
