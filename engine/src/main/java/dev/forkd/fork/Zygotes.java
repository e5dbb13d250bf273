package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
import dev.forkd.disk.DiskLayers;
import dev.forkd.linux.Cgroup;
import dev.forkd.linux.CgroupSupport;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.state.DataDir;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.Vmm;
import java.io.IOException;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * The zygotes of a data directory: at most one per snapshot, made when a snapshot is first forked
 * or left behind by a branch, and given up when too many are there or memory gets short. Where
 * processes cannot be copied there are none, and children are restored one by one.
 *
 * <p>They end with the process that made them; nothing of them is stored.
 */
public final class Zygotes implements AutoCloseable {
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
  private final ZygoteMaker maker;
  private final ZygoteShelf shelf;

  /** Makes and warms zygotes before they are asked for; one after the other. */
  private final ExecutorService background = Threads.virtualExecutor("zygotes", 1);

  private volatile Optional<String> obstacle;
  private volatile boolean closed;

  public Zygotes(Parts parts) {
    this.parts = parts;
    this.maker = new ZygoteMaker(parts);
    this.shelf = new ZygoteShelf(parts.memory(), parts.snapshots(), maker::forget);
    this.obstacle = parts.vmm().capabilities().copyObstacle();
  }

  /** As long as a sandbox's id: a copy's arguments show its own in the place of its source's. */
  public static String newId() {
    byte[] random = new byte[6];
    RANDOM.nextBytes(random);
    return "zy" + HexFormat.of().formatHex(random);
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
  Optional<ZygoteShelf.Lease> lease(SnapshotManifest manifest) {
    if (obstacle.isPresent() || closed) {
      return Optional.empty();
    }
    Optional<ZygoteShelf.Lease> there = shelf.find(manifest);
    if (there.isPresent()) {
      return there;
    }
    try (ZygoteShelf.Making _ = shelf.making(manifest.tag())) {
      there = shelf.find(manifest);
      if (there.isPresent()) {
        return there;
      }
      Optional<Zygote> made = maker.make(manifest);
      if (made.isEmpty()) {
        // A process nobody else has to do with: it will be no different with the next.
        giveUp("the process of a freshly restored VM cannot be frozen");
      }
      made.ifPresent(this::register);
      if (made.isPresent() && manifest.template()) {
        inBackground(() -> warm(manifest));
      }
    }
    return shelf.find(manifest);
  }

  private void inBackground(Runnable work) {
    try {
      background.execute(work);
    } catch (RejectedExecutionException e) {
      // Closing: nobody will ask for it.
      return;
    }
  }

  /** Puts a copy that has been warmed in the place of a cold zygote. */
  private void warm(SnapshotManifest manifest) {
    try {
      // No lease is taken that is not given back: its zygote would stay.
      Optional<ZygoteShelf.Lease> lease = closed ? Optional.empty() : shelf.find(manifest);
      if (lease.isEmpty()) {
        return;
      }
      try (ZygoteShelf.Lease cold = lease.get()) {
        maker.warm(cold.zygote()).ifPresent(this::register);
      }
    } catch (ForkdException e) {
      LOG.log(
          System.Logger.Level.WARNING,
          "no warm zygote of {0}: {1}",
          manifest.tag(),
          e.getMessage());
    }
  }

  /**
   * Checks the files of these snapshots in the background, and makes their zygotes where there are
   * any, so that a first fork finds both done.
   */
  public void prepare(List<Tag> tags) {
    if (!tags.isEmpty()) {
      inBackground(() -> tags.forEach(this::prepare));
    }
  }

  private void prepare(Tag tag) {
    if (closed) {
      return;
    }
    try {
      SnapshotManifest manifest = parts.snapshots().require(tag);
      lease(manifest).ifPresent(ZygoteShelf.Lease::close);
    } catch (ForkdException e) {
      LOG.log(System.Logger.Level.DEBUG, "no zygote of {0}: {1}", tag, e.message());
    }
  }

  /** Makes the copy that a branch took of its source a VM of its own. */
  public RunningVm finishTwin(VmCopier.PendingVm pending, String id) {
    RunningVm twin = pending.finish(maker.name(id));
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
    maker.forget(id);
  }

  /**
   * Keeps the copy that a branch took of its source as the zygote of the new snapshot.
   *
   * @param id names the copy; its overlay is frozen in the snapshot
   * @param mappedImage what the source's memory is a private mapping of
   */
  public void adopt(
      String id, SnapshotManifest manifest, RunningVm vm, String mappedImage, long ramInode) {
    maker
        .adopt(id, manifest, vm, mappedImage, ramInode)
        .ifPresentOrElse(this::register, () -> maker.forget(id));
  }

  private void register(Zygote zygote) {
    shelf.register(zygote);
    if (closed) {
      shelf.endAll();
    }
  }

  /** Ends the zygotes of snapshots that are no longer there. */
  public void prune() {
    shelf.prune();
  }

  @Override
  public void close() {
    closed = true;
    background.shutdown();
    maker.close();
    try {
      if (!background.awaitTermination(CLOSE_SECONDS, TimeUnit.SECONDS)) {
        LOG.log(
            System.Logger.Level.WARNING, "a zygote is still being made; the next start ends it");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    shelf.endAll();
  }
}
