package dev.forkd.linux;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Set;

/** Files with holes: finding their data, and copying without filling the holes. */
public final class SparseFiles {
  /** lseek(2): the next offset that holds data. */
  private static final int SEEK_DATA = 3;

  /** lseek(2): the next hole; the end of the file counts as one. */
  private static final int SEEK_HOLE = 4;

  private static final int O_RDONLY_CLOEXEC = 0x80000;

  private static final int O_RDWR_CLOEXEC = 0x80002;

  /** ioctl_ficlone(2): _IOW(0x94, 9, int); its argument is the source's descriptor itself. */
  private static final long FICLONE = 0x40049409L;

  /** What FICLONE answers where it cannot: another file system, or one without reflinks. */
  private static final Set<Integer> NO_REFLINK =
      Set.of(18, 22, 25, 95); // EXDEV EINVAL ENOTTY EOPNOTSUPP

  private SparseFiles() {}

  /** The pages of {@code file} that hold data. */
  public static PageRuns dataPages(Path file) throws IOException {
    int fd = Libc.open(file.toString(), O_RDONLY_CLOEXEC);
    try {
      return dataPages(fd, Files.size(file));
    } finally {
      Libc.close(fd);
    }
  }

  static PageRuns dataPages(int fd, long sizeBytes) throws IOException {
    PageRuns.Builder runs = new PageRuns.Builder();
    long offset = 0;
    while (offset < sizeBytes) {
      long data = Libc.lseek(fd, offset, SEEK_DATA);
      if (data < 0) {
        break;
      }
      long hole = Libc.lseek(fd, data, SEEK_HOLE);
      long end = hole < 0 ? sizeBytes : hole;
      long first = data / PageRuns.PAGE_BYTES;
      long last = (end + PageRuns.PAGE_BYTES - 1) / PageRuns.PAGE_BYTES;
      runs.add(first, last - first);
      offset = end;
    }
    return runs.build();
  }

  /** Copies the given pages of {@code from} to the same places in {@code to}. */
  public static void copyPages(FileChannel from, FileChannel to, PageRuns pages)
      throws IOException {
    for (int i = 0; i < pages.runs(); i++) {
      long offset = pages.first(i) * PageRuns.PAGE_BYTES;
      long end = offset + pages.length(i) * PageRuns.PAGE_BYTES;
      to.position(offset);
      while (offset < end) {
        long copied = from.transferTo(offset, end - offset, to);
        if (copied <= 0) {
          throw new IOException("source ends at byte " + offset + ", expected " + end);
        }
        offset += copied;
      }
    }
  }

  /**
   * Copies a file, sharing its blocks where the file system can, else keeping its holes. The copy
   * is not yet durable.
   *
   * @return whether blocks are shared
   * @throws IOException when {@code to} exists
   */
  public static boolean cloneOrCopy(Path from, Path to) throws IOException {
    Files.createFile(to);
    if (reflink(from, to)) {
      return true;
    }
    copyData(from, to);
    return false;
  }

  private static boolean reflink(Path from, Path to) throws IOException {
    int source = Libc.open(from.toString(), O_RDONLY_CLOEXEC);
    try {
      int target = Libc.open(to.toString(), O_RDWR_CLOEXEC);
      try {
        Libc.ioctl(target, FICLONE, MemorySegment.ofAddress(source));
        return true;
      } finally {
        Libc.close(target);
      }
    } catch (ErrnoException e) {
      if (NO_REFLINK.contains(e.errno())) {
        return false;
      }
      throw e;
    } finally {
      Libc.close(source);
    }
  }

  /** {@link #cloneOrCopy}, and durable. */
  public static void copy(Path from, Path to) throws IOException {
    cloneOrCopy(from, to);
    DurableFiles.sync(to);
  }

  private static void copyData(Path from, Path to) throws IOException {
    PageRuns data = dataPages(from);
    try (FileChannel in = FileChannel.open(from, StandardOpenOption.READ);
        FileChannel out = FileChannel.open(to, StandardOpenOption.WRITE)) {
      for (int i = 0; i < data.runs(); i++) {
        long offset = data.first(i) * PageRuns.PAGE_BYTES;
        long end = Math.min(in.size(), offset + data.length(i) * PageRuns.PAGE_BYTES);
        out.position(offset);
        while (offset < end) {
          long copied = in.transferTo(offset, end - offset, out);
          if (copied <= 0) {
            throw new IOException(from + " ends at byte " + offset + ", expected " + end);
          }
          offset += copied;
        }
      }
      if (out.size() < in.size()) {
        out.write(ByteBuffer.allocate(1), in.size() - 1);
      }
    }
  }
}
