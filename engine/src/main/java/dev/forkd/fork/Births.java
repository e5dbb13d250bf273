package dev.forkd.fork;

import dev.forkd.memory.HostMemory;
import dev.forkd.memory.MemoryStore;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.snapshot.Layers;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.LongConsumer;

/** What the VMs of a snapshot's children are made from: its zygote's process, or its files. */
final class Births {
  /** What a restored child takes at first: its VMM, and the pages it touches. Measured 33 to 44. */
  private static final long RESTORED_BYTES = 44L << 20;

  /**
   * A copied one shares all that with its zygote until it writes. Measured 1.2, 10 after an eval.
   */
  private static final long COPIED_BYTES = 12L << 20;

  private final Forker.Parts parts;

  Births(Forker.Parts parts) {
    this.parts = parts;
  }

  /** About what a child takes of the host's memory. */
  long childBytes() {
    return parts.zygotes().obstacle().isEmpty() ? COPIED_BYTES : RESTORED_BYTES;
  }

  /** Runs {@code work} with what children are born from. */
  <T> T of(SnapshotManifest manifest, int children, Function<Birth, T> work) {
    Optional<ZygoteShelf.Lease> zygote = parts.zygotes().lease(manifest);
    if (zygote.isPresent()) {
      try (ZygoteShelf.Lease lease = zygote.get()) {
        requireMemory(children, COPIED_BYTES);
        return work.apply(new Copied(lease.zygote()));
      }
    }
    requireMemory(children, RESTORED_BYTES);
    try (MemoryStore.Lease memory = parts.memory().lease(manifest.memory())) {
      return work.apply(new Restored(manifest, memory));
    }
  }

  private static void requireMemory(int children, long bytes) {
    HostMemory.require(
        "forking " + children + " children of about " + (bytes >> 20) + " MiB", children * bytes);
  }

  /** Where a child's VM comes from. */
  interface Birth {
    RunningVm start(VmName name, SandboxRecord record, DiskLayer overlay, LongConsumer started);

    /** The record of a child that began so. */
    SandboxRecord begun(SandboxRecord record);
  }

  /** From a zygote's process. */
  private record Copied(Zygote zygote) implements Birth {
    @Override
    public RunningVm start(
        VmName name, SandboxRecord record, DiskLayer overlay, LongConsumer started) {
      return zygote.fork(name, overlay, started);
    }

    @Override
    public SandboxRecord begun(SandboxRecord record) {
      Zygote.Origin origin = zygote.origin();
      return record
          .withMemory(origin.ramInode(), origin.mappedImage(), origin.token(), origin.frozen())
          .withDisk(zygote.disk().stream().map(Layers::ref).toList(), record.activeLayer());
    }
  }

  /** From the snapshot's files. */
  private final class Restored implements Birth {
    private final SnapshotManifest manifest;
    private final MemoryStore.Lease memory;

    Restored(SnapshotManifest manifest, MemoryStore.Lease memory) {
      this.manifest = manifest;
      this.memory = memory;
    }

    @Override
    public RunningVm start(
        VmName name, SandboxRecord record, DiskLayer overlay, LongConsumer started) {
      return parts
          .vmm()
          .restore(
              new RestoreSpec(
                  name,
                  new VmHardware(record.memoryMib()),
                  memory.memory(),
                  new DiskChain(
                      record.disk().stream().map(ref -> Layers.layer(ref, parts.layers())).toList(),
                      overlay),
                  parts.snapshots().devices(manifest.tag()),
                  started,
                  false));
    }

    @Override
    public SandboxRecord begun(SandboxRecord record) {
      return record.withMemory(
          memory.memory().inode(),
          manifest.memory().getFirst().id(),
          manifest.resyncToken(),
          manifest.frozen());
    }
  }
}
