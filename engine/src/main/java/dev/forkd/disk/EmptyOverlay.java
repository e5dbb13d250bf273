package dev.forkd.disk;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/**
 * An overlay to which nothing was written, remembered: a few hundred KB, of which all but some
 * blocks are zeros. Those are left as holes in its copies.
 *
 * @param sizeBytes of the file
 * @param blocks what is not zero
 */
record EmptyOverlay(long sizeBytes, List<Block> blocks) {
  /** What file systems allocate at least. */
  private static final int BLOCK_BYTES = 4096;

  /** One block that is not all zeros. */
  record Block(long offset, byte[] bytes) {}

  static EmptyOverlay read(Path file) throws IOException {
    byte[] all = Files.readAllBytes(file);
    List<Block> blocks = new ArrayList<>();
    for (int offset = 0; offset < all.length; offset += BLOCK_BYTES) {
      byte[] block =
          java.util.Arrays.copyOfRange(all, offset, Math.min(all.length, offset + BLOCK_BYTES));
      for (byte b : block) {
        if (b != 0) {
          blocks.add(new Block(offset, block));
          break;
        }
      }
    }
    return new EmptyOverlay(all.length, List.copyOf(blocks));
  }

  /**
   * Makes a copy.
   *
   * @throws IOException also when the file is there
   */
  void writeTo(Path file) throws IOException {
    try (FileChannel channel =
        FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
      for (Block block : blocks) {
        write(channel, ByteBuffer.wrap(block.bytes()), block.offset());
      }
      if (channel.size() < sizeBytes) {
        write(channel, ByteBuffer.allocate(1), sizeBytes - 1);
      }
    }
  }

  private static void write(FileChannel channel, ByteBuffer bytes, long offset) throws IOException {
    while (bytes.hasRemaining()) {
      offset += channel.write(bytes, offset);
    }
  }
}
