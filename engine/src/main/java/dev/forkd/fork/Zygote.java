package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.VmName;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongConsumer;

/**
 * A stopped VM from whose process the children of one snapshot are copied. It never runs again: its
 * memory, devices and translated code are what every child begins with.
 *
 * <p>Thread-safe; copies are made one after the other.
 */
final class Zygote {
  private static final long PATIENCE_SECONDS = 60;

  private final String id;
  private final SnapshotManifest manifest;
  private final RunningVm vm;
  private final VmCopier copier;
  private final Origin origin;
  private final ReentrantLock lock = new ReentrantLock();
  private int users;
  private boolean retired;
  private boolean closed;

  /**
   * What its children begin with, besides what the manifest says.
   *
   * @param mappedImage id of the memory image its memory is a private mapping of
   * @param ramInode of that mapping
   * @param token hex; what the guest agent listens for
   * @param frozen user processes are frozen in it
   * @param warm it has translated what a first request runs
   */
  record Origin(String mappedImage, long ramInode, String token, boolean frozen, boolean warm) {}

  Zygote(String id, SnapshotManifest manifest, RunningVm vm, VmCopier copier, Origin origin) {
    this.id = id;
    this.manifest = manifest;
    this.vm = vm;
    this.copier = copier;
    this.origin = origin;
  }

  String id() {
    return id;
  }

  SnapshotManifest manifest() {
    return manifest;
  }

  Origin origin() {
    return origin;
  }

  /** The layers a child stands on: its overlay is the last of them. */
  List<DiskLayer> disk() {
    return java.util.stream.Stream.concat(
            vm.disk().base().stream(), java.util.stream.Stream.of(vm.disk().active()))
        .toList();
  }

  /**
   * Whether its process is there and can be copied. One that was killed, as by a host without
   * memory, is traced and may never be told to have ended.
   */
  boolean alive() {
    return !vm.exit().isDone()
        && new ProcessIdentity(vm.process().pid(), vm.process().startTicks()).firstThreadIsAlive();
  }

  /**
   * Copies it.
   *
   * @param overlay an empty one, on which the child stands
   * @param started hears the process id before the child is let loose
   */
  RunningVm fork(VmName name, DiskLayer overlay, LongConsumer started) {
    RunningVm child = copy(name, started);
    try {
      child.execute(new VmCommand.StackOverlay(overlay));
      return child;
    } catch (RuntimeException e) {
      child.kill();
      throw e;
    }
  }

  private RunningVm copy(VmName name, LongConsumer started) {
    try {
      if (!lock.tryLock(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
        throw new ForkdException(
            ErrorCode.RESOURCE_EXHAUSTED,
            "copying " + id + " waited longer than " + PATIENCE_SECONDS + " s for its turn");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while forking", e);
    }
    try (VmCopier.PendingVm pending = copier.copy()) {
      started.accept(pending.process().pid());
      return pending.finish(name);
    } finally {
      lock.unlock();
    }
  }

  /**
   * Keeps it from being closed; false when it is closed already. Guarded by the registry's lock.
   */
  boolean use() {
    if (closed || retired) {
      return false;
    }
    users++;
    return true;
  }

  /** Whether it is to be closed now. Guarded by the registry's lock. */
  boolean leave() {
    users--;
    return closeable();
  }

  /** Nobody shall use it any more; whether it is to be closed now. Guarded as above. */
  boolean retire() {
    retired = true;
    return closeable();
  }

  private boolean closeable() {
    if (retired && users == 0 && !closed) {
      closed = true;
      return true;
    }
    return false;
  }

  /** Ends its process. */
  void end() {
    copier.close();
  }
}
