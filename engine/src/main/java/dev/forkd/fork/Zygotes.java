package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
import dev.forkd.disk.DiskLayers;
import dev.forkd.linux.Cgroup;
import dev.forkd.linux.CgroupSupport;
import dev.forkd.memory.HostMemory;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.snapshot.Layers;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.snapshot.SnapshotManifest.LayerRef;
import dev.forkd.state.DataDir;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import dev.forkd.vmm.Vmm;
import java.io.IOException;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The zygotes of a data directory: at most one per snapshot, made when a snapshot is first forked
 * or left behind by a branch, and given up when too many are there or memory gets short. Where
 * processes cannot be copied there are none, and children are restored one by one.
 *
 * <p>They end with the process that made them; nothing of them is stored.
 */
public final class Zygotes implements AutoCloseable {
  /** Each takes the translated code and the diverged pages of one VM, some 20 to 80 MiB. */
  private static final int MAX_ZYGOTES = 12;

  /** Below this no zygote is kept that nobody uses. */
  private static final long SCARCE_BYTES = 1L << 30;

  /** A zygote's own process: measured 20 to 40 MiB besides the memory image. */
  private static final long ZYGOTE_BYTES = 64L << 20;

  private static final long CLOSE_SECONDS = 20;
  private static final SecureRandom RANDOM = new SecureRandom();
  private static final System.Logger LOG = System.getLogger(Zygotes.class.getName());

  /** What making zygotes needs of the engine. */
  public record Parts(
      DataDir dir,
      Vmm vmm,
      MemoryStore memory,
      DiskLayers layers,
      ImageLedger ledger,
      SnapshotCatalog snapshots,
      CgroupSupport cgroups,
      WarmUp warmUp) {}

  private final Parts parts;
  private final ReentrantLock lock = new ReentrantLock();

  /** In order of use, the least recently used first; guarded by the lock. */
  private final LinkedHashMap<String, Zygote> byTag = new LinkedHashMap<>(16, 0.75f, true);

  /** One maker per tag; guarded by the lock. */
  private final Map<String, ReentrantLock> making = new HashMap<>();

  /** Makes and warms zygotes before they are asked for; one after the other. */
  private final ExecutorService background = Threads.virtualExecutor("zygotes", 1);

  /** Killed by whoever closes, so that nobody waits for its warm-up. */
  private volatile Optional<RunningVm> warming = Optional.empty();

  private volatile Optional<String> obstacle;
  private volatile boolean closed;

  public Zygotes(Parts parts) {
    this.parts = parts;
    this.obstacle = parts.vmm().capabilities().copyObstacle();
  }

  /** The right to copy a zygote; close it when done. */
  final class Lease implements AutoCloseable {
    private final Zygote zygote;

    private Lease(Zygote zygote) {
      this.zygote = zygote;
    }

    Zygote zygote() {
      return zygote;
    }

    @Override
    public void close() {
      boolean end;
      lock.lock();
      try {
        end = zygote.leave();
      } finally {
        lock.unlock();
      }
      if (end) {
        end(zygote);
      }
    }
  }

  /** Why processes are not copied here; empty when they are. */
  public Optional<String> obstacle() {
    return obstacle;
  }

  /** Processes cannot be copied after all: from now on nobody tries. */
  private void giveUp(String why) {
    if (obstacle.isEmpty()) {
      obstacle = Optional.of(why);
      LOG.log(System.Logger.Level.WARNING, "processes of VMs are not copied from now on: {0}", why);
    }
  }

  /**
   * The zygote of a snapshot, made now if there is none.
   *
   * @return empty where processes cannot be copied
   * @throws ForkdException as {@link MemoryStore#lease} and {@link Vmm#restore} do
   */
  Optional<Lease> lease(SnapshotManifest manifest) {
    if (obstacle.isPresent() || closed) {
      return Optional.empty();
    }
    Optional<Lease> there = find(manifest);
    if (there.isPresent()) {
      return there;
    }
    ReentrantLock maker = maker(manifest.tag());
    maker.lock();
    try {
      there = find(manifest);
      if (there.isPresent()) {
        return there;
      }
      Optional<Zygote> made = make(manifest);
      made.ifPresent(this::register);
      if (made.isPresent() && manifest.template()) {
        inBackground(() -> warm(manifest));
      }
    } finally {
      maker.unlock();
    }
    return find(manifest);
  }

  private void inBackground(Runnable work) {
    try {
      background.execute(work);
    } catch (RejectedExecutionException e) {
      // Closing: nobody will ask for it.
      return;
    }
  }

  private ReentrantLock maker(String tag) {
    lock.lock();
    try {
      return making.computeIfAbsent(tag, _ -> new ReentrantLock());
    } finally {
      lock.unlock();
    }
  }

  /** A changed file must not go unnoticed because a zygote in memory needs none. */
  private Optional<Lease> find(SnapshotManifest manifest) {
    if (!parts.memory().unchanged(manifest.memory())) {
      return Optional.empty();
    }
    lock.lock();
    try {
      Zygote zygote = byTag.get(manifest.tag());
      return zygote != null && zygote.manifest().equals(manifest) && zygote.alive() && zygote.use()
          ? Optional.of(new Lease(zygote))
          : Optional.empty();
    } finally {
      lock.unlock();
    }
  }

  /** A VM restored from the snapshot's files, which never runs. */
  private Optional<Zygote> make(SnapshotManifest manifest) {
    HostMemory.require("a zygote of '" + manifest.tag() + "'", ZYGOTE_BYTES);
    String id = newId();
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
      if (!complete) {
        // A process nobody else has to do with: it will be no different with the next.
        giveUp("the process of a freshly restored VM cannot be frozen");
      }
      return zygote;
    } finally {
      if (!complete) {
        forget(id);
      }
    }
  }

  private Optional<Zygote> freeze(
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

  /**
   * Puts a copy that has been warmed in the place of a cold zygote. It is a copy because a VM in
   * which the image's own programs run has to be confined.
   */
  private void warm(SnapshotManifest manifest) {
    String id = newId();
    boolean complete = false;
    try {
      Optional<Lease> lease = find(manifest);
      if (lease.isEmpty() || closed) {
        return;
      }
      try (Lease cold = lease.get()) {
        Zygote parent = cold.zygote();
        DiskLayer overlay = parts.layers().layer("d" + id, DiskLayer.Format.QCOW2);
        List<String> images = new ArrayList<>(images(manifest));
        parent.disk().forEach(layer -> images.add(layer.id()));
        images.add(overlay.id());
        parts.ledger().hold(holder(id), images);
        parts.layers().newOverlay(overlay.id(), manifest.diskBytes());
        RunningVm vm = parent.fork(name(id), overlay, _ -> {});
        Optional<Zygote> warmed = warm(id, manifest, vm, parent.origin());
        complete = warmed.isPresent();
        warmed.ifPresent(this::register);
      }
    } catch (ForkdException e) {
      LOG.log(
          System.Logger.Level.WARNING,
          "no warm zygote of {0}: {1}",
          manifest.tag(),
          e.getMessage());
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

  /** Makes the zygotes of these snapshots in the background, so that a first fork finds them. */
  public void prepare(List<Tag> tags) {
    if (obstacle.isEmpty() && !tags.isEmpty()) {
      inBackground(() -> {
        for (Tag tag : tags) {
          try {
            // Checks its files, too, before anybody waits for it.
            lease(parts.snapshots().require(tag)).ifPresent(Lease::close);
          } catch (ForkdException e) {
            LOG.log(System.Logger.Level.DEBUG, "no zygote of {0}: {1}", tag, e.message());
          }
        }
      });
    }
  }

  /** Makes the copy that a branch took of its source a VM of its own. */
  public RunningVm finishTwin(VmCopier.PendingVm pending, String id) {
    RunningVm twin = pending.finish(name(id));
    try {
      // It was born into its source's group, and must neither count there nor outlive it there.
      Cgroup.moveHere(parts.cgroups(), twin.process().pid());
      return twin;
    } catch (IOException e) {
      discardTwin(twin, id);
      throw new ForkdException(
          ErrorCode.INTERNAL,
          "take the copy " + id + " out of its source's cgroup: " + e.getMessage(),
          e);
    }
  }

  /** Ends such a copy that nobody needs. */
  public void discardTwin(RunningVm vm, String id) {
    vm.kill();
    forget(id);
  }

  /**
   * Keeps the copy that a branch took of its source as the zygote of the new snapshot.
   *
   * @param id names the copy; its overlay is frozen in the snapshot
   * @param mappedImage what the source's memory is a private mapping of
   */
  public void adopt(
      String id, SnapshotManifest manifest, RunningVm vm, String mappedImage, long ramInode) {
    List<String> images = new ArrayList<>(images(manifest));
    images.add(mappedImage);
    parts.ledger().hold(holder(id), images);
    Optional<Zygote> zygote =
        closed
            ? Optional.empty()
            : freeze(
                id,
                manifest,
                vm,
                new Zygote.Origin(
                    mappedImage, ramInode, manifest.resyncToken(), manifest.frozen(), true));
    zygote.ifPresentOrElse(this::register, () -> forget(id));
  }

  private void register(Zygote zygote) {
    List<Zygote> ending = new ArrayList<>();
    lock.lock();
    try {
      Zygote before = byTag.put(zygote.manifest().tag(), zygote);
      if (before != null && before.retire()) {
        ending.add(before);
      }
      boolean scarce = HostMemory.availableBytes() < SCARCE_BYTES;
      List<Zygote> oldest = List.copyOf(byTag.values());
      for (Zygote other : oldest) {
        boolean tooMany = byTag.size() > MAX_ZYGOTES || scarce;
        if (tooMany && other != zygote) {
          byTag.remove(other.manifest().tag());
          if (other.retire()) {
            ending.add(other);
          }
        }
      }
    } finally {
      lock.unlock();
    }
    ending.forEach(this::end);
    if (closed) {
      endAll();
    }
  }

  /** Ends the zygotes of snapshots that are no longer there. */
  public void prune() {
    List<Zygote> ending = new ArrayList<>();
    lock.lock();
    try {
      byTag
          .values()
          .removeIf(zygote -> {
            boolean stays =
                parts
                    .snapshots()
                    .find(new Tag(zygote.manifest().tag()))
                    .filter(zygote.manifest()::equals)
                    .isPresent();
            if (!stays && zygote.retire()) {
              ending.add(zygote);
            }
            return !stays;
          });
    } finally {
      lock.unlock();
    }
    ending.forEach(this::end);
  }

  private void end(Zygote zygote) {
    try {
      zygote.end();
    } catch (ForkdException e) {
      LOG.log(System.Logger.Level.WARNING, "end zygote {0}: {1}", zygote.id(), e.message());
    }
    forget(zygote.id());
  }

  /** Removes what a zygote without a process leaves. */
  private void forget(String id) {
    parts.snapshots().removeImages(parts.ledger().release(holder(id)));
  }

  private DiskChain hold(String id, SnapshotManifest manifest) {
    DiskLayer overlay = parts.layers().layer("d" + id, DiskLayer.Format.QCOW2);
    List<String> images = new ArrayList<>(images(manifest));
    images.add(overlay.id());
    parts.ledger().hold(holder(id), images);
    return new DiskChain(
        manifest.disk().stream().map(ref -> Layers.layer(ref, parts.layers())).toList(), overlay);
  }

  private static List<String> images(SnapshotManifest manifest) {
    return java.util.stream.Stream.concat(
            manifest.memory().stream().map(MemoryImage::id),
            manifest.disk().stream().map(LayerRef::id))
        .toList();
  }

  private static String holder(String id) {
    return "zygote " + id;
  }

  /** As long as a sandbox's id: a copy's arguments show its own in the place of its source's. */
  public static String newId() {
    byte[] random = new byte[6];
    RANDOM.nextBytes(random);
    return "zy" + HexFormat.of().formatHex(random);
  }

  private VmName name(String id) {
    return new VmName(id, parts.dir().runtimeDir());
  }

  @Override
  public void close() {
    closed = true;
    background.shutdown();
    warming.ifPresent(RunningVm::kill);
    try {
      if (!background.awaitTermination(CLOSE_SECONDS, TimeUnit.SECONDS)) {
        LOG.log(
            System.Logger.Level.WARNING, "a zygote is still being made; the next start ends it");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    endAll();
  }

  private void endAll() {
    List<Zygote> ending = new ArrayList<>();
    lock.lock();
    try {
      for (Zygote zygote : byTag.values()) {
        if (zygote.retire()) {
          ending.add(zygote);
        }
      }
      byTag.clear();
    } finally {
      lock.unlock();
    }
    ending.forEach(this::end);
  }
}
