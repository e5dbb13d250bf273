package dev.forkd.memory;

import dev.forkd.api.Threads;
import dev.forkd.linux.PageRuns;
import dev.forkd.linux.SparseFiles;
import java.io.EOFException;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * What a memory image's file holds, as 64 hexadecimal digits: a Merkle tree of SHA-256 over blocks
 * of 1 MiB, so that all cores share the work and holes cost nothing. The root binds the file's
 * length and, for a delta, the hash of the image below it: the hash of one image commits to all it
 * stands on. A hole and written zeros hash alike, as they read alike.
 *
 * <p>Leaves, nodes and the root each hash under a prefix of their own, so none passes for another.
 */
public final class ContentHash implements AutoCloseable {
  private static final int BLOCK_BYTES = 1 << 20;
  private static final int PAGES_PER_BLOCK = BLOCK_BYTES / PageRuns.PAGE_BYTES;
  private static final byte LEAF = 0;
  private static final byte NODE = 1;
  private static final byte ROOT = 2;
  private static final int MAX_THREADS = 4;
  private static final byte[] ZERO_BLOCK = leaf(new byte[BLOCK_BYTES], BLOCK_BYTES);

  private final int threads =
      Math.clamp(Runtime.getRuntime().availableProcessors(), 1, MAX_THREADS);

  /** Hashing keeps a core busy, which on a virtual thread would keep requests waiting. */
  private final ExecutorService workers = Threads.platformExecutor("content-hash", threads);

  /**
   * A hash that is being computed.
   *
   * @param pieces one per worker; each fills its leaves
   */
  public record Pending(
      long sizeBytes, Optional<String> parent, byte[][] leaves, List<Future<?>> pieces) {
    /**
     * Waits for the hash.
     *
     * @throws IOException when the file could not be read to its end
     */
    public String await() throws IOException {
      try {
        for (Future<?> piece : pieces) {
          piece.get();
        }
        return root(sizeBytes, parent, leaves);
      } catch (ExecutionException e) {
        throw e.getCause() instanceof IOException known ? known : new IOException(e.getCause());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new InterruptedIOException("interrupted while hashing a memory image");
      }
    }
  }

  /**
   * Begins to hash a file, which nobody writes meanwhile.
   *
   * @param parent hash of the image that a delta stands on
   */
  public Pending begin(Path file, Optional<String> parent) throws IOException {
    FileChannel in = FileChannel.open(file, StandardOpenOption.READ);
    long size = in.size();
    byte[][] leaves = new byte[Math.toIntExact(Math.ceilDiv(size, BLOCK_BYTES))][];
    Arrays.fill(leaves, ZERO_BLOCK);
    int[] blocks;
    try {
      blocks = blocksToRead(file, size);
    } catch (IOException | RuntimeException e) {
      in.close();
      throw e;
    }
    int workersUsed = Math.clamp(blocks.length, 1, threads);
    AtomicInteger next = new AtomicInteger();
    AtomicInteger working = new AtomicInteger(workersUsed);
    List<Future<?>> pieces = new ArrayList<>();
    for (int i = 0; i < workersUsed; i++) {
      pieces.add(
          workers.submit(() -> {
            try {
              hashBlocks(in, size, blocks, next, leaves);
            } finally {
              if (working.decrementAndGet() == 0) {
                in.close();
              }
            }
            return leaves;
          }));
    }
    return new Pending(size, parent, leaves, pieces);
  }

  /** Blocks with data, and the last one if it is short: its hash is not that of a whole one. */
  private static int[] blocksToRead(Path file, long size) throws IOException {
    PageRuns data = SparseFiles.dataPages(file);
    BitSet blocks = new BitSet();
    for (int i = 0; i < data.runs(); i++) {
      long last = (data.first(i) + data.length(i) - 1) / PAGES_PER_BLOCK;
      blocks.set(Math.toIntExact(data.first(i) / PAGES_PER_BLOCK), Math.toIntExact(last + 1));
    }
    if (size % BLOCK_BYTES != 0) {
      blocks.set(Math.toIntExact(size / BLOCK_BYTES));
    }
    return blocks.stream().toArray();
  }

  private static void hashBlocks(
      FileChannel in, long size, int[] blocks, AtomicInteger next, byte[][] leaves)
      throws IOException {
    byte[] block = new byte[BLOCK_BYTES];
    for (int i = next.getAndIncrement(); i < blocks.length; i = next.getAndIncrement()) {
      int number = blocks[i];
      long at = (long) number * BLOCK_BYTES;
      ByteBuffer into = ByteBuffer.wrap(block, 0, (int) Math.min(BLOCK_BYTES, size - at));
      while (into.hasRemaining()) {
        if (in.read(into, at + into.position()) < 0) {
          throw new EOFException("it became shorter than " + size + " bytes while it was read");
        }
      }
      leaves[number] = leaf(block, into.limit());
    }
  }

  private static byte[] leaf(byte[] block, int bytes) {
    MessageDigest digest = sha256();
    digest.update(LEAF);
    digest.update(block, 0, bytes);
    return digest.digest();
  }

  private static String root(long sizeBytes, Optional<String> parent, byte[][] leaves) {
    MessageDigest digest = sha256();
    byte[][] level = leaves;
    while (level.length > 1) {
      byte[][] above = new byte[(level.length + 1) / 2][];
      for (int i = 0; i < above.length; i++) {
        if (2 * i + 1 == level.length) {
          above[i] = level[2 * i];
        } else {
          digest.update(NODE);
          digest.update(level[2 * i]);
          above[i] = digest.digest(level[2 * i + 1]);
        }
      }
      level = above;
    }
    digest.update(ROOT);
    digest.update(ByteBuffer.allocate(Long.BYTES).putLong(sizeBytes).flip());
    parent.ifPresent(hash -> digest.update(hash.getBytes(StandardCharsets.US_ASCII)));
    return HexFormat.of().formatHex(digest.digest(level.length == 0 ? new byte[0] : level[0]));
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }

  @Override
  public void close() {
    workers.shutdownNow();
  }
}
