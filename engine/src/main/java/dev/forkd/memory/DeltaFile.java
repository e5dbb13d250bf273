package dev.forkd.memory;

import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32C;

/**
 * Pages of guest memory, packed: the differences between two memory images.
 *
 * <p>Layout, little-endian: magic {@code FKDDELT1} (8 bytes) · guest memory in bytes (u64) · number
 * of runs (u32) · CRC-32C of index and pages (u32) · the index, first page and length (2 × u64) of
 * each run in ascending order · the pages of all runs one after the other. The checksum is written
 * last; a file without it never had its final name.
 */
final class DeltaFile {
  private static final long MAGIC = 0x31544C4544444B46L; // "FKDDELT1" read as little-endian
  private static final int HEADER_BYTES = 24;
  private static final int RUN_BYTES = 16;

  /** Not a limit anybody meets: it bounds what a damaged header can make us allocate. */
  private static final int MAX_RUNS = 16 << 20;

  private static final int CHUNK_BYTES = 4 << 20;

  private DeltaFile() {}

  /** Writes a new file; making it durable is the caller's. */
  static void write(Path file, long memoryBytes, PageRuns runs, PageBuffer pages)
      throws IOException {
    ByteBuffer index = little(Math.multiplyExact(runs.runs(), RUN_BYTES));
    for (int i = 0; i < runs.runs(); i++) {
      index.putLong(runs.first(i)).putLong(runs.length(i));
    }
    CRC32C checksum = new CRC32C();
    checksum.update(index.flip());
    try (FileChannel out =
        FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      out.position(HEADER_BYTES);
      writeFully(out, index.rewind());
      for (long at = 0; at < runs.bytes(); at += CHUNK_BYTES) {
        ByteBuffer chunk = pages.slice(at, Math.min(CHUNK_BYTES, runs.bytes() - at));
        checksum.update(chunk);
        writeFully(out, chunk.rewind());
      }
      ByteBuffer header = little(HEADER_BYTES);
      header.putLong(MAGIC).putLong(memoryBytes).putInt(runs.runs());
      header.putInt((int) checksum.getValue());
      out.position(0);
      writeFully(out, header.flip());
    }
  }

  /** Puts the pages of {@code file} in their places in {@code image}, checking as it goes. */
  static void apply(Path file, long memoryBytes, FileChannel image) throws IOException {
    try (FileChannel in = FileChannel.open(file, StandardOpenOption.READ)) {
      ByteBuffer header = readFully(in, little(HEADER_BYTES));
      int count = checkedRuns(file, memoryBytes, header);
      int expected = header.getInt(20);
      ByteBuffer index = readFully(in, little(Math.multiplyExact(count, RUN_BYTES)));
      CRC32C checksum = new CRC32C();
      checksum.update(index.duplicate());
      checkRuns(file, memoryBytes, index.duplicate().order(ByteOrder.LITTLE_ENDIAN));
      copyRuns(in, index, ByteBuffer.allocateDirect(CHUNK_BYTES), checksum, image);
      if ((int) checksum.getValue() != expected) {
        throw new IOException(file + " is damaged: its checksum does not match its content");
      }
    }
  }

  /** The pages a file stores. */
  static PageRuns index(Path file, long memoryBytes) throws IOException {
    try (FileChannel in = FileChannel.open(file, StandardOpenOption.READ)) {
      int count = checkedRuns(file, memoryBytes, readFully(in, little(HEADER_BYTES)));
      ByteBuffer index = readFully(in, little(Math.multiplyExact(count, RUN_BYTES)));
      PageRuns.Builder runs = new PageRuns.Builder();
      for (int i = 0; i < count; i++) {
        runs.add(index.getLong(), index.getLong());
      }
      return runs.build();
    } catch (IllegalArgumentException e) {
      throw new IOException(file + " has an index out of order", e);
    }
  }

  /** Where the first stored page begins. */
  static long dataOffset(int runs) {
    return HEADER_BYTES + (long) runs * RUN_BYTES;
  }

  private static void checkRuns(Path file, long memoryBytes, ByteBuffer index) throws IOException {
    long all = memoryBytes / PageRuns.PAGE_BYTES;
    while (index.hasRemaining()) {
      long first = index.getLong();
      long pages = index.getLong();
      if (pages <= 0 || pages > all || first < 0 || first > all - pages) {
        throw new IOException(
            file + " has a run outside guest memory: " + pages + " pages from " + first);
      }
    }
  }

  /** The pages lie one after the other: they are read in large pieces, however short the runs. */
  private static void copyRuns(
      FileChannel in, ByteBuffer index, ByteBuffer piece, CRC32C checksum, FileChannel image)
      throws IOException {
    long unread = 0;
    for (int i = RUN_BYTES / 2; i < index.limit(); i += RUN_BYTES) {
      unread += index.getLong(i) * PageRuns.PAGE_BYTES;
    }
    piece.limit(0);
    while (index.hasRemaining()) {
      long at = index.getLong() * PageRuns.PAGE_BYTES;
      long end = at + index.getLong() * PageRuns.PAGE_BYTES;
      while (at < end) {
        if (!piece.hasRemaining()) {
          readFully(in, piece.clear().limit((int) Math.min(CHUNK_BYTES, unread)));
          unread -= piece.remaining();
          checksum.update(piece.duplicate());
        }
        ByteBuffer run = piece.slice(piece.position(), (int) Math.min(piece.remaining(), end - at));
        piece.position(piece.position() + run.remaining());
        while (run.hasRemaining()) {
          at += image.write(run, at);
        }
      }
    }
  }

  private static int checkedRuns(Path file, long memoryBytes, ByteBuffer header)
      throws IOException {
    if (header.getLong(0) != MAGIC) {
      throw new IOException(file + " is not a memory delta of forkd");
    }
    if (header.getLong(8) != memoryBytes) {
      throw new IOException(
          file + " is for " + header.getLong(8) + " bytes of memory, expected " + memoryBytes);
    }
    int count = header.getInt(16);
    if (count < 0 || count > MAX_RUNS) {
      throw new IOException(file + " claims " + count + " runs");
    }
    return count;
  }

  private static ByteBuffer little(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static void writeFully(FileChannel out, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      out.write(bytes);
    }
  }

  private static ByteBuffer readFully(FileChannel in, ByteBuffer into) throws IOException {
    while (into.hasRemaining()) {
      if (in.read(into) < 0) {
        throw new EOFException("file ends " + into.remaining() + " bytes early");
      }
    }
    return into.flip();
  }
}
