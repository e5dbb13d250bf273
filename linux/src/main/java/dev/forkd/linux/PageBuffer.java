package dev.forkd.linux;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;

/**
 * Memory outside the Java heap that pages are copied into while a guest is paused. It is taken and
 * touched before the pause, since the first touch of fresh memory costs as much as the copy.
 *
 * <p>One thread at a time.
 */
@SuppressWarnings("MustBeClosedChecker") // the arena lives as long as this object, which closes it
public final class PageBuffer implements AutoCloseable {
  /** Copies out in pieces that a {@link ByteBuffer} can hold. */
  private static final long CHUNK_BYTES = 64L << 20;

  private Arena arena = Arena.ofShared();
  private MemorySegment memory = MemorySegment.NULL;

  public long capacityBytes() {
    return memory.byteSize();
  }

  /** Makes room for {@code bytes}, touching every page; what was inside is lost. */
  public void ensure(long bytes) {
    if (bytes <= memory.byteSize()) {
      return;
    }
    arena.close();
    arena = Arena.ofShared();
    memory = arena.allocate(bytes, PageRuns.PAGE_BYTES);
    memory.fill((byte) 0);
  }

  MemorySegment segment() {
    return memory;
  }

  /** Writes the first {@code bytes} bytes to {@code sink}. */
  public void writeTo(WritableByteChannel sink, long bytes) throws IOException {
    for (long offset = 0; offset < bytes; offset += CHUNK_BYTES) {
      ByteBuffer chunk = slice(offset, Math.min(CHUNK_BYTES, bytes - offset));
      while (chunk.hasRemaining()) {
        sink.write(chunk);
      }
    }
  }

  /** A view of a part of it; at most 2 GiB. */
  public ByteBuffer slice(long offset, long bytes) {
    return memory.asSlice(offset, bytes).asByteBuffer();
  }

  @Override
  public void close() {
    arena.close();
  }
}
