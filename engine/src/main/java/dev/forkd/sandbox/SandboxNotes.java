package dev.forkd.sandbox;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.snapshot.Layers;
import dev.forkd.vmm.DiskChain;
import java.nio.file.Path;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.UnaryOperator;

/** What is known of a sandbox, and written down. Thread-safe. */
final class SandboxNotes {
  private static final System.Logger LOG = System.getLogger(SandboxNotes.class.getName());

  private final Sandbox.Saver saver;
  private final ReentrantLock changing = new ReentrantLock();
  private volatile SandboxRecord record;

  SandboxNotes(SandboxRecord record, Sandbox.Saver saver) {
    this.record = record;
    this.saver = saver;
  }

  SandboxRecord record() {
    return record;
  }

  private String id() {
    return record.id();
  }

  /** Its life for its user begins now. Whoever says so also stores the record. */
  void handOut(long unixSeconds) {
    change(now -> now.withCreatedAt(unixSeconds));
  }

  /** Counts a branch. */
  void branched(Path memory) {
    update(now -> now.afterBranch(memory.toString()));
  }

  /**
   * Notes that the disk chain has changed. Not durable at once: whoever adopts the sandbox asks its
   * VMM which layers it uses.
   */
  void diskChanged(DiskChain disk) {
    updateSoon(
        now -> now.withDisk(disk.base().stream().map(Layers::ref).toList(), disk.active().id()));
  }

  /** One change after the other, so that none is lost, a failure least of all. */
  private void change(UnaryOperator<SandboxRecord> change) {
    changing.lock();
    try {
      record = change.apply(record);
    } finally {
      changing.unlock();
    }
  }

  private void update(UnaryOperator<SandboxRecord> change) {
    changing.lock();
    try {
      record = change.apply(record);
      saver.save(id(), this::record);
    } finally {
      changing.unlock();
    }
  }

  /** A failure is one also where it cannot be written down, as on a full disk. */
  void fail(UnaryOperator<SandboxRecord> change) {
    try {
      update(change);
    } catch (ForkdException e) {
      LOG.log(System.Logger.Level.WARNING, "note the failure of {0}: {1}", id(), e.message());
    }
  }

  /**
   * A change that need not be durable before the caller goes on. That of a certificate: whoever
   * adopts the sandbox without having heard of it finds out by asking the guest.
   */
  void updateSoon(UnaryOperator<SandboxRecord> change) {
    change(change);
    Threads.virtual(
        "save-" + id(),
        () -> {
          try {
            saver.save(id(), this::record);
          } catch (ForkdException e) {
            LOG.log(System.Logger.Level.WARNING, "save sandbox {0}: {1}", id(), e.message());
          }
        });
  }
}
