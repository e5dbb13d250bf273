package dev.forkd.linux;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Anonymous memory with a file descriptor. Sealed against writing it is the one form in which guest
 * memory can be handed to a process that insists on opening it for writing: a private mapping
 * works, nothing else does. The memory lives as long as any process has it open or mapped.
 *
 * @see <a href="https://man7.org/linux/man-pages/man2/memfd_create.2.html">memfd_create(2)</a>
 */
public final class Memfd implements AutoCloseable {
  private static final int MFD_CLOEXEC = 0x1;
  private static final int MFD_ALLOW_SEALING = 0x2;

  /** fcntl(2): F_LINUX_SPECIFIC_BASE + 9. */
  private static final int F_ADD_SEALS = 1033;

  private static final int F_SEAL_SHRINK = 0x2;
  private static final int F_SEAL_GROW = 0x4;
  private static final int F_SEAL_WRITE = 0x8;

  private final int fd;
  private final long sizeBytes;
  private final AtomicBoolean open = new AtomicBoolean(true);

  private Memfd(int fd, long sizeBytes) {
    this.fd = fd;
    this.sizeBytes = sizeBytes;
  }

  /** A new one of {@code sizeBytes}, all zero; memory is taken only as it is written. */
  public static Memfd create(String name, long sizeBytes) throws IOException {
    Memfd memfd = new Memfd(Libc.memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), sizeBytes);
    try (RandomAccessFile file = new RandomAccessFile(memfd.path().toFile(), "rw")) {
      file.setLength(sizeBytes);
    } catch (IOException | RuntimeException e) {
      memfd.close();
      throw e;
    }
    return memfd;
  }

  public long sizeBytes() {
    return sizeBytes;
  }

  /** A path under which this process can open it, and hand it to a child as standard input. */
  public Path path() {
    return Path.of("/proc/self/fd/" + fd);
  }

  /** The inode, by which mappings of it are found in other processes. */
  public long inode() {
    try {
      return (Long) Files.getAttribute(path(), "unix:ino");
    } catch (IOException e) {
      throw new UncheckedIOException("inode of memfd " + fd, e);
    }
  }

  /** Opens it for positioned reads and writes. */
  public FileChannel channel() throws IOException {
    // The descriptor's owner is the RandomAccessFile; closing the channel closes that.
    return new RandomAccessFile(path().toFile(), "rw").getChannel();
  }

  /**
   * Forbids writing and resizing for good.
   *
   * @throws IOException EBUSY while somebody has it mapped shared and writable
   */
  public void seal() throws IOException {
    Libc.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
  }

  /** Where it holds data, as page runs. */
  public PageRuns dataPages() throws IOException {
    return SparseFiles.dataPages(fd, sizeBytes);
  }

  @Override
  public void close() {
    if (open.compareAndSet(true, false)) {
      try {
        Libc.close(fd);
      } catch (IOException e) {
        throw new UncheckedIOException("close memfd", e);
      }
    }
  }
}
