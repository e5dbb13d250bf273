package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.Snapshot;
import dev.forkd.fork.HostProfile;
import dev.forkd.guest.AgentReady;
import dev.forkd.guest.GuestAgent;
import dev.forkd.linux.DurableFiles;
import dev.forkd.memory.HostMemory;
import dev.forkd.memory.MemoryImage;
import dev.forkd.snapshot.Layers;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotFiles;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.snapshot.SnapshotManifest.Lineage;
import dev.forkd.vmm.DiskLayer;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/**
 * Boots the disk of a snapshot anew and freezes what has come up: a snapshot with the same files
 * and another memory, in which nothing runs but what is started at boot. It boots with the kernel
 * that forkd's own templates have now.
 */
public final class Rebooter {
  /** Boots take a core each. */
  private static final int BOOTS_AT_ONCE = 2;

  private static final Duration TURN_PATIENCE = Duration.ofSeconds(20);
  private static final Duration BOOT_TIMEOUT = Duration.ofSeconds(60);
  private static final Duration CALL_TIMEOUT = Duration.ofSeconds(20);

  private final TemplateBaker.Parts parts;
  private final Semaphore boots = new Semaphore(BOOTS_AT_ONCE, true);

  public Rebooter(TemplateBaker.Parts parts) {
    this.parts = parts;
  }

  /**
   * @throws ForkdException NOT_FOUND when the snapshot does not exist, ALREADY_EXISTS when the tag
   *     is taken, RESOURCE_EXHAUSTED when too many boot at the moment, DEADLINE_EXCEEDED when the
   *     guest does not come up
   */
  public Snapshot reboot(Tag from, Tag to) {
    parts.snapshots().requireFree(to);
    SnapshotManifest source = parts.snapshots().bootable(from);
    boolean mine = false;
    try {
      mine = boots.tryAcquire(TURN_PATIENCE.toSeconds(), TimeUnit.SECONDS);
      if (!mine) {
        throw new ForkdException(
            ErrorCode.RESOURCE_EXHAUSTED,
            BOOTS_AT_ONCE + " guests boot at the moment, as many as may at once; try again",
            Map.of(ForkdException.RETRY_AFTER_SECONDS, String.valueOf(TURN_PATIENCE.toSeconds())),
            null);
      }
      return held(source, to);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while waiting to boot", e);
    } finally {
      if (mine) {
        boots.release();
      }
    }
  }

  private Snapshot held(SnapshotManifest source, Tag to) {
    String holder = "boot " + to;
    parts.ledger().hold(holder, SnapshotCatalog.images(source));
    try {
      // Held from here on; it may have been deleted just before.
      Tag from = new Tag(source.tag());
      if (parts.snapshots().find(from).filter(source::equals).isEmpty()) {
        throw new ForkdException(ErrorCode.NOT_FOUND, "snapshot '" + from + "' was deleted");
      }
      return boot(source, to, holder);
    } finally {
      parts.snapshots().removeImages(parts.ledger().release(holder));
    }
  }

  private Snapshot boot(SnapshotManifest source, Tag to, String holder) {
    HostMemory.require("booting the disk of '" + source.tag() + "'", bytes(source));
    BootAssets assets = parts.assets().bootAssets(_ -> {});
    String imageId = "m" + GuestBoot.randomHex(8);
    Lineage lineage = Lineage.made(source.tag(), Lineage.REBOOT);
    long now = System.currentTimeMillis() / 1000;
    Path folder = parts.snapshots().reserve(to, false, Optional.of(lineage), now);
    boolean complete = false;
    try {
      List<DiskLayer> below =
          source.disk().stream().map(ref -> Layers.layer(ref, parts.layers())).toList();
      GuestBoot.Frozen frozen =
          new GuestBoot(
                  parts,
                  assets,
                  "the disk of snapshot '" + source.tag() + "'",
                  holder,
                  source.memoryMib(),
                  BOOT_TIMEOUT,
                  _ -> {})
              .run(below, source.diskBytes(), folder, Rebooter::comeUp);
      MemoryImage memory = parts.memory().addFlat(imageId, frozen.memory());
      Path devices = folder.resolve(SnapshotFiles.DEVICES);
      DurableFiles.sync(devices);
      List<SnapshotManifest.LayerRef> disk = new ArrayList<>(source.disk());
      disk.add(Layers.sealed(frozen.overlay(), parts.layers()));
      Snapshot snapshot =
          parts
              .snapshots()
              .complete(
                  to,
                  new SnapshotManifest(
                      SnapshotManifest.VERSION,
                      to.value(),
                      now,
                      false,
                      Optional.empty(),
                      TemplateBaker.platform(
                          HostProfile.of(parts.vmm().capabilities(), assets.tscKhz()), assets),
                      source.memoryMib(),
                      source.diskBytes(),
                      List.of(memory),
                      disk,
                      SnapshotFiles.sha256(devices),
                      HexFormat.of().formatHex(GuestAgent.INITIAL_TOKEN),
                      false,
                      Optional.empty(),
                      Optional.of(lineage)));
      complete = true;
      return snapshot;
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.INTERNAL, "boot the disk of '" + source.tag() + "': " + e.getMessage(), e);
    } finally {
      if (!complete) {
        parts.snapshots().abandon(to);
        parts.memory().delete(imageId);
      }
    }
  }

  private static long bytes(SnapshotManifest source) {
    return (long) source.memoryMib() << 20;
  }

  /** As in any machine, services are on their way when the first request comes. */
  private static void comeUp(GuestAgent agent, AgentReady ready) {
    BootServices.read(agent).forEach(service -> BootServices.start(agent, service));
    agent.syncDisks(CALL_TIMEOUT);
  }
}
