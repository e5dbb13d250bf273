package dev.forkd.vmm;

import java.util.ArrayList;
import java.util.List;

/**
 * A VM's disk: immutable layers from the root image upward, and one writable overlay on top.
 *
 * @param base read-only layers, root first; at least one
 * @param active the overlay only this VM writes
 */
public record DiskChain(List<DiskLayer> base, DiskLayer active) {
  public DiskChain {
    base = List.copyOf(base);
  }

  /** The chain after a disk fork: what was active is frozen, {@code overlay} takes the writes. */
  public DiskChain switchedTo(DiskLayer overlay) {
    List<DiskLayer> frozen = new ArrayList<>(base);
    frozen.add(active);
    return new DiskChain(frozen, overlay);
  }

  /** Files in the chain. */
  public int depth() {
    return base.size() + 1;
  }
}
