package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.memory.HostMemory;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.Layers;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Makes VMs into zygotes, and holds the images that each of them needs. */
final class ZygoteMaker implements AutoCloseable {
  /** A zygote's own process: measured 20 to 40 MiB besides the memory image. */
  private static final long ZYGOTE_BYTES = 64L << 20;

  private static final System.Logger LOG = System.getLogger(ZygoteMaker.class.getName());

  private final Zygotes.Parts parts;

  /** Killed by whoever closes, so that nobody waits for its warm-up. */
  private volatile Optional<RunningVm> warming = Optional.empty();

  private volatile boolean closed;

  ZygoteMaker(Zygotes.Parts parts) {
    this.parts = parts;
  }

  /**
   * Restores a VM from the snapshot's files; it never runs.
   *
   * @return empty when its process cannot be frozen
   */
  Optional<Zygote> make(SnapshotManifest manifest) {
    HostMemory.require("a zygote of '" + manifest.tag() + "'", ZYGOTE_BYTES);
    String id = Zygotes.newId();
    DiskChain disk = hold(id, manifest);
    boolean complete = false;
    try (MemoryStore.Lease memory = parts.memory().lease(manifest.memory())) {
      parts.layers().newOverlay(disk.active().id(), manifest.diskBytes());
      RunningVm vm =
          parts
              .vmm()
              .restore(
                  new RestoreSpec(
                      name(id),
                      new VmHardware(manifest.memoryMib()),
                      memory.memory(),
                      disk,
                      parts.snapshots().devices(manifest.tag()),
                      _ -> {},
                      true));
      Zygote.Origin origin =
          new Zygote.Origin(
              manifest.memory().getFirst().id(),
              memory.memory().inode(),
              manifest.resyncToken(),
              manifest.frozen(),
              false);
      Optional<Zygote> zygote = freeze(id, manifest, vm, origin);
      complete = zygote.isPresent();
      return zygote;
    } finally {
      if (!complete) {
        forget(id);
      }
    }
  }

  /**
   * Warms a copy of a cold zygote, to be put in its place. It is a copy because a VM in which the
   * image's own programs run has to be confined.
   *
   * @return empty when its process cannot be frozen
   */
  Optional<Zygote> warm(Zygote cold) {
    String id = Zygotes.newId();
    SnapshotManifest manifest = cold.manifest();
    boolean complete = false;
    try {
      DiskLayer overlay = overlay(id);
      List<String> images = new ArrayList<>(SnapshotCatalog.images(manifest));
      cold.disk().forEach(layer -> images.add(layer.id()));
      images.add(overlay.id());
      parts.ledger().hold(holder(id), images);
      parts.layers().newOverlay(overlay.id(), manifest.diskBytes());
      RunningVm vm = cold.fork(name(id), overlay, _ -> {});
      Optional<Zygote> warmed = warm(id, manifest, vm, cold.origin());
      complete = warmed.isPresent();
      return warmed;
    } finally {
      if (!complete) {
        forget(id);
      }
    }
  }

  private Optional<Zygote> warm(
      String id, SnapshotManifest manifest, RunningVm vm, Zygote.Origin cold) {
    WarmUp.Warmed warmed;
    warming = Optional.of(vm);
    try {
      if (closed) {
        throw new ForkdException(ErrorCode.CANCELLED, "forkd is stopping");
      }
      warmed = parts.warmUp().run(id, vm, cold.token(), manifest.rehearsals().orElse(List.of()));
    } catch (RuntimeException e) {
      vm.kill();
      throw e;
    } finally {
      warming = Optional.empty();
    }
    return freeze(
        id,
        manifest,
        vm,
        new Zygote.Origin(
            cold.mappedImage(), cold.ramInode(), warmed.token(), cold.frozen(), true));
  }

  /**
   * Makes the copy that a branch took of its source into one.
   *
   * @param mappedImage what the source's memory is a private mapping of
   * @return empty when its process cannot be frozen or nothing is made any more; then it has ended
   */
  Optional<Zygote> adopt(
      String id, SnapshotManifest manifest, RunningVm vm, String mappedImage, long ramInode) {
    List<String> images = new ArrayList<>(SnapshotCatalog.images(manifest));
    images.add(mappedImage);
    parts.ledger().hold(holder(id), images);
    if (closed) {
      vm.kill();
      return Optional.empty();
    }
    return freeze(
        id,
        manifest,
        vm,
        new Zygote.Origin(mappedImage, ramInode, manifest.resyncToken(), manifest.frozen(), true));
  }

  private static Optional<Zygote> freeze(
      String id, SnapshotManifest manifest, RunningVm vm, Zygote.Origin origin) {
    try {
      VmCopier copier = vm.copier(true);
      copier.freeze();
      return Optional.of(new Zygote(id, manifest, vm, copier, origin));
    } catch (ForkdException e) {
      vm.kill();
      LOG.log(System.Logger.Level.WARNING, "{0} is no zygote: {1}", id, e.message());
      return Optional.empty();
    }
  }

  private DiskChain hold(String id, SnapshotManifest manifest) {
    DiskLayer overlay = overlay(id);
    List<String> images = new ArrayList<>(SnapshotCatalog.images(manifest));
    images.add(overlay.id());
    parts.ledger().hold(holder(id), images);
    return new DiskChain(
        manifest.disk().stream().map(ref -> Layers.layer(ref, parts.layers())).toList(), overlay);
  }

  private DiskLayer overlay(String id) {
    return parts.layers().layer("d" + id, DiskLayer.Format.QCOW2);
  }

  /** Removes what a zygote without a process leaves. */
  void forget(String id) {
    parts.snapshots().removeImages(parts.ledger().release(holder(id)));
  }

  private static String holder(String id) {
    return "zygote " + id;
  }

  VmName name(String id) {
    return new VmName(id, parts.dir().runtimeDir());
  }

  /** Nothing is warmed from now on; what is being warmed ends. */
  @Override
  public void close() {
    closed = true;
    warming.ifPresent(RunningVm::kill);
  }
}
