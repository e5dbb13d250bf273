package dev.forkd.branch;

import dev.forkd.engine.BranchSpec;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.vmm.GuestMemory;
import java.util.OptionalLong;

/**
 * The memory part of one branch: sized before the pause, copied inside it, stored after it. A
 * {@code diff} copies the pages that differ from the image the source was forked from, which needs
 * no tracking that could be lost; a {@code full} copies every page that has data.
 */
final class MemoryCopy {
  /** Room for what the guest writes between the sizing and the pause, and half as much again. */
  private static final long SPARE_BYTES = 8L << 20;

  private final MemoryStore store;
  private final Sandbox source;
  private final BranchSpec.Mode mode;
  private final boolean flat;
  private final String imageId;
  private final PageBuffer buffer;
  private final GuestMemory memory;
  private PageRuns base = new PageRuns.Builder().build();
  private PageRuns copied = new PageRuns.Builder().build();
  private OptionalLong diffNanos = OptionalLong.empty();
  private OptionalLong diffBytes = OptionalLong.empty();

  MemoryCopy(
      MemoryStore store,
      Sandbox source,
      BranchSpec.Mode mode,
      boolean flat,
      String imageId,
      PageBuffer buffer) {
    this.store = store;
    this.source = source;
    this.mode = mode;
    this.flat = flat;
    this.imageId = imageId;
    this.buffer = buffer;
    this.memory = source.vm().memory();
  }

  /** Before the pause: takes memory for the copy and touches it. */
  void prepare() {
    long diverged = memory.diverged().bytes();
    if (flat) {
      base = store.dataPages(source.record().memory());
    }
    long wanted =
        Math.min(memory.sizeBytes(), base.bytes() + diverged + diverged / 2 + SPARE_BYTES);
    Brancher.requireMemory(source, wanted);
    buffer.ensure(wanted);
  }

  /** Inside the pause. */
  void copy() {
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
    if (mode == BranchSpec.Mode.FULL || mode == BranchSpec.Mode.MEASURE_DIFF) {
      // The compatible way: the guest stands still until its memory is in the file.
      store.stageFlat(imageId, memory.sizeBytes(), copied, buffer);
    }
  }

  /** After the pause: makes the image durable under its name. */
  MemoryImage store() {
    if (!flat) {
      return store.addDelta(imageId, source.record().memory().getFirst(), copied, buffer);
    }
    if (mode == BranchSpec.Mode.DIFF) {
      store.stageFlat(imageId, memory.sizeBytes(), copied, buffer);
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
}
