package dev.forkd.branch;

import dev.forkd.memory.MemoryImage;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import java.nio.file.Path;
import java.util.OptionalLong;

/** One way to take the state of a running VM: what is done before, in and after its pause. */
interface StateTaking extends AutoCloseable {

  /** Before the pause: all that can be done early. */
  void prepare(RunningVm vm);

  /**
   * Pauses the VM, takes its state and switches its disk to {@code overlay}.
   *
   * @param resume the VM was running; it may be resumed here where that saves a round trip
   * @return whether it was resumed
   */
  boolean pause(RunningVm vm, DiskLayer overlay, boolean resume);

  /**
   * After the pause: writes memory, and the device state to {@code devices}. Durable is only the
   * memory.
   */
  MemoryImage store(Path devices);

  /** The snapshot is complete: what this way leaves behind may serve its children. */
  void completed(SnapshotManifest manifest);

  /** Time to find and copy diverged pages; empty when none were looked for, or not yet. */
  OptionalLong diffMillis();

  /** Diverged pages that were stored. */
  OptionalLong diffBytes();

  /** Releases whatever was not handed on. */
  @Override
  void close();
}
