package dev.forkd.branch;

import dev.forkd.engine.BranchSpec;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import dev.forkd.memory.HostMemory;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.vmm.GuestMemory;
import java.util.OptionalLong;

/**
 * The memory part of one branch: sized, copied while the memory stands still, and stored. A delta
 * has the pages that differ from the image the source was forked from, which needs no tracking that
 * could be lost; a flat image has every page with data.
 */
final class MemoryCopy implements AutoCloseable {
  /** Room for what the guest writes between the sizing and the pause, and half as much again. */
  private static final long SPARE_BYTES = 8L << 20;

  private final MemoryStore store;
  private final SandboxRecord source;
  private final BranchSpec.Mode mode;
  private final boolean flat;
  private final String imageId;
  private final PageBuffer buffer = new PageBuffer();
  private PageRuns base = new PageRuns.Builder().build();
  private PageRuns copied = new PageRuns.Builder().build();
  private OptionalLong diffNanos = OptionalLong.empty();
  private OptionalLong diffBytes = OptionalLong.empty();

  /**
   * @param source as it is when its state is taken
   * @param flat store all memory, not only the differences
   */
  MemoryCopy(
      MemoryStore store, SandboxRecord source, BranchSpec.Mode mode, boolean flat, String imageId) {
    this.store = store;
    this.source = source;
    this.mode = mode;
    this.flat = flat;
    this.imageId = imageId;
  }

  String imageId() {
    return imageId;
  }

  /** Takes room for a copy of {@code memory} and touches it, so that this costs nothing later. */
  void prepare(GuestMemory memory) {
    long diverged = memory.diverged().bytes();
    if (flat) {
      base = store.dataPages(source.memory());
    }
    long wanted =
        Math.min(memory.sizeBytes(), base.bytes() + diverged + diverged / 2 + SPARE_BYTES);
    HostMemory.require("branching sandbox " + source.id(), wanted);
    buffer.ensure(wanted);
  }

  /** Copies what differs; the memory must stand still. */
  void copy(GuestMemory memory) {
    long begin = System.nanoTime();
    PageRuns diverged = memory.diverged();
    buffer.ensure(diverged.bytes());
    if (mode != BranchSpec.Mode.FULL) {
      memory.read(diverged, buffer);
      diffNanos = OptionalLong.of(System.nanoTime() - begin);
      diffBytes = OptionalLong.of(diverged.bytes());
    }
    copied = diverged;
    if (flat) {
      copied = base.union(diverged);
      buffer.ensure(copied.bytes());
      memory.read(copied, buffer);
    }
  }

  /**
   * The compatible way of a full branch: the guest stands still until its memory is in the file.
   */
  void stageFlat(GuestMemory memory) {
    store.stageFlat(imageId, memory.sizeBytes(), copied, buffer);
  }

  /**
   * Makes the image durable under its name.
   *
   * @param staged {@link #stageFlat} has been called
   */
  MemoryImage store(GuestMemory memory, boolean staged) {
    if (!flat) {
      PageRuns differing = store.differing(source.inherited(), copied, buffer);
      if (differing.pages() < copied.pages()) {
        diffBytes = OptionalLong.of(differing.bytes());
      }
      return store.addDelta(imageId, source.memory().getFirst(), differing, buffer);
    }
    if (!staged) {
      stageFlat(memory);
    }
    return store.publishFlat(imageId, memory.sizeBytes());
  }

  OptionalLong diffMillis() {
    return diffNanos.isPresent()
        ? OptionalLong.of(Math.ceilDiv(diffNanos.getAsLong(), 1_000_000))
        : OptionalLong.empty();
  }

  OptionalLong diffBytes() {
    return diffBytes;
  }

  @Override
  public void close() {
    buffer.close();
  }
}
