package dev.forkd.linux;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.LongBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Which pages of a private file mapping another process has written, and their content: by {@code
 * /proc/PID/pagemap} and process_vm_readv(2), with no help from that process.
 *
 * <p>A page that was written is present or swapped, and no longer backed by the file.
 *
 * @see <a href="https://docs.kernel.org/admin-guide/mm/pagemap.html">pagemap</a>
 */
public final class ProcessPages implements AutoCloseable {
  /** Mapped by nobody else: a page that was copied on a write, and not since shared by a fork. */
  private static final long EXCLUSIVE_BIT = 1L << 56;

  private static final long FILE_BIT = 1L << 61;
  private static final long SWAP_BIT = 1L << 62;
  private static final long PRESENT_BIT = 1L << 63;

  /** _IOWR('f', 16, struct pm_scan_arg), from linux/fs.h; Linux 6.7 and newer. */
  private static final long PAGEMAP_SCAN = 0xC0606610L;

  private static final int PM_SCAN_ARG_BYTES = 96;
  private static final long PAGE_IS_FILE = 1L << 2;
  private static final long PAGE_IS_PRESENT = 1L << 3;
  private static final long PAGE_IS_SWAPPED = 1L << 4;

  /** Regions asked for at once; each is start, end, categories. */
  private static final int REGIONS = 4096;

  private static final int REGION_BYTES = 24;

  /** IOV_MAX: vectors that one call takes. */
  private static final int MAX_VECTORS = 1024;

  private static final int VECTOR_BYTES = 16;
  private static final int O_RDONLY_CLOEXEC = 0x80000;
  private static final int ENOTTY = 25;

  private final int pid;
  private final List<MemoryMapping> mappings;
  private final int pagemap;
  private final ReentrantLock using = new ReentrantLock();
  private boolean scanSupported = true;
  private boolean closed;

  /** Opens the page map of {@code pid} for the given mappings of guest memory. */
  public ProcessPages(int pid, List<MemoryMapping> mappings) throws IOException {
    this.pid = pid;
    this.mappings = List.copyOf(mappings);
    this.pagemap = Libc.open("/proc/" + pid + "/pagemap", O_RDONLY_CLOEXEC);
  }

  /** Pages written, as page numbers within the mapped file. */
  public PageRuns diverged() throws IOException {
    // Not while another thread closes: the number would soon be another file's.
    using.lock();
    try {
      if (closed) {
        throw new IOException("the page map of pid " + pid + " is closed");
      }
      if (scanSupported) {
        try {
          return scanByIoctl();
        } catch (ErrnoException e) {
          if (e.errno() != ENOTTY) {
            throw e;
          }
          scanSupported = false;
        }
      }
      return scanByReading();
    } finally {
      using.unlock();
    }
  }

  private PageRuns scanByIoctl() throws IOException {
    PageRuns.Builder runs = new PageRuns.Builder();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment argument = arena.allocate(PM_SCAN_ARG_BYTES, 8);
      MemorySegment regions = arena.allocate((long) REGIONS * REGION_BYTES, 8);
      for (MemoryMapping mapping : mappings) {
        long at = mapping.start();
        while (at < mapping.end()) {
          set(argument, 0, PM_SCAN_ARG_BYTES);
          set(argument, 8, 0); // flags
          set(argument, 16, at);
          set(argument, 24, mapping.end());
          set(argument, 32, 0); // walk_end, set by the kernel
          set(argument, 40, regions.address());
          set(argument, 48, REGIONS);
          set(argument, 56, 0); // max_pages: no limit
          set(argument, 64, PAGE_IS_FILE); // category_inverted: wanted clear
          set(argument, 72, PAGE_IS_FILE); // category_mask: all of these
          set(argument, 80, PAGE_IS_PRESENT | PAGE_IS_SWAPPED); // category_anyof_mask
          set(argument, 88, 0); // return_mask: same categories become one region
          int found = Libc.ioctl(pagemap, PAGEMAP_SCAN, argument);
          for (int i = 0; i < found; i++) {
            long start = regions.get(ValueLayout.JAVA_LONG, (long) i * REGION_BYTES);
            long end = regions.get(ValueLayout.JAVA_LONG, (long) i * REGION_BYTES + 8);
            runs.add(pageInFile(mapping, start), (end - start) / PageRuns.PAGE_BYTES);
          }
          // Not walk_end: where the kernel's own buffer overflowed on the way, it keeps the place
          // of that although it went on to the end. Regions ascend, so the last one tells.
          at =
              found < REGIONS
                  ? mapping.end()
                  : regions.get(ValueLayout.JAVA_LONG, (long) (found - 1) * REGION_BYTES + 8);
        }
      }
    }
    return runs.build();
  }

  private static void set(MemorySegment struct, long offset, long value) {
    struct.set(ValueLayout.JAVA_LONG, offset, value);
  }

  PageRuns scanByReading() throws IOException {
    PageRuns.Builder runs = new PageRuns.Builder();
    ByteBuffer block = ByteBuffer.allocateDirect(512 << 10).order(ByteOrder.nativeOrder());
    try (FileChannel map =
        FileChannel.open(Path.of("/proc/" + pid + "/pagemap"), StandardOpenOption.READ)) {
      for (MemoryMapping mapping : mappings) {
        long page = mapping.start() / PageRuns.PAGE_BYTES;
        long end = mapping.end() / PageRuns.PAGE_BYTES;
        while (page < end) {
          block.clear().limit((int) Math.min(block.capacity(), (end - page) * Long.BYTES));
          int bytes = map.read(block, page * Long.BYTES);
          if (bytes < Long.BYTES) {
            throw new IOException("pagemap of pid " + pid + " ends early");
          }
          LongBuffer entries = block.flip().asLongBuffer();
          int count = entries.remaining();
          for (int i = 0; i < count; i++) {
            long entry = entries.get(i);
            if ((entry & (PRESENT_BIT | SWAP_BIT)) != 0 && (entry & FILE_BIT) == 0) {
              runs.add(pageInFile(mapping, (page + i) * PageRuns.PAGE_BYTES), 1);
            }
          }
          page += count;
        }
      }
    }
    return runs.build();
  }

  /** Of {@code pages}, how many no other process has mapped. */
  public long exclusive(PageRuns pages) throws IOException {
    ByteBuffer block = ByteBuffer.allocateDirect(512 << 10).order(ByteOrder.nativeOrder());
    long count = 0;
    try (FileChannel map =
        FileChannel.open(Path.of("/proc/" + pid + "/pagemap"), StandardOpenOption.READ)) {
      for (int run = 0; run < pages.runs(); run++) {
        long page = address(pages, run) / PageRuns.PAGE_BYTES;
        long end = page + pages.length(run);
        while (page < end) {
          block.clear().limit((int) Math.min(block.capacity(), (end - page) * Long.BYTES));
          if (map.read(block, page * Long.BYTES) < Long.BYTES) {
            throw new IOException("pagemap of pid " + pid + " ends early");
          }
          LongBuffer entries = block.flip().asLongBuffer();
          page += entries.remaining();
          while (entries.hasRemaining()) {
            long entry = entries.get();
            boolean own = (entry & PRESENT_BIT) == 0 || (entry & EXCLUSIVE_BIT) != 0;
            count += own ? 1 : 0;
          }
        }
      }
    }
    return count;
  }

  private static long pageInFile(MemoryMapping mapping, long address) {
    return (address - mapping.start() + mapping.offset()) / PageRuns.PAGE_BYTES;
  }

  /** Copies {@code pages} into {@code into}, packed from its start; it must have room. */
  public void read(PageRuns pages, PageBuffer into) throws IOException {
    if (pages.bytes() > into.capacityBytes()) {
      throw new IllegalArgumentException(
          "buffer of " + into.capacityBytes() + " bytes, " + pages.bytes() + " needed");
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment remote = arena.allocate((long) MAX_VECTORS * VECTOR_BYTES, 8);
      MemorySegment local = arena.allocate(VECTOR_BYTES, 8);
      long done = 0;
      int run = 0;
      while (run < pages.runs()) {
        int vectors = 0;
        long batch = 0;
        while (run < pages.runs() && vectors < MAX_VECTORS) {
          long bytes = pages.length(run) * PageRuns.PAGE_BYTES;
          remote.set(ValueLayout.JAVA_LONG, (long) vectors * VECTOR_BYTES, address(pages, run));
          remote.set(ValueLayout.JAVA_LONG, (long) vectors * VECTOR_BYTES + 8, bytes);
          batch += bytes;
          vectors++;
          run++;
        }
        readBatch(local, remote, vectors, into.segment().asSlice(done, batch));
        done += batch;
      }
    }
  }

  /** One call copies at most 2 GiB, and may stop between vectors: go on from where it stopped. */
  private void readBatch(MemorySegment local, MemorySegment remote, int vectors, MemorySegment to)
      throws IOException {
    long done = 0;
    int first = 0;
    while (done < to.byteSize()) {
      local.set(ValueLayout.JAVA_LONG, 0, to.address() + done);
      local.set(ValueLayout.JAVA_LONG, 8, to.byteSize() - done);
      long got =
          Libc.processVmReadv(
              pid, local, 1, remote.asSlice((long) first * VECTOR_BYTES), vectors - first);
      if (got == 0) {
        throw new IOException("process_vm_readv of pid " + pid + " made no progress");
      }
      done += got;
      while (got > 0) {
        long at = (long) first * VECTOR_BYTES;
        long length = remote.get(ValueLayout.JAVA_LONG, at + 8);
        long taken = Math.min(got, length);
        remote.set(ValueLayout.JAVA_LONG, at, remote.get(ValueLayout.JAVA_LONG, at) + taken);
        remote.set(ValueLayout.JAVA_LONG, at + 8, length - taken);
        got -= taken;
        if (taken == length) {
          first++;
        }
      }
    }
  }

  private long address(PageRuns pages, int run) throws IOException {
    long offset = pages.first(run) * PageRuns.PAGE_BYTES;
    long end = offset + pages.length(run) * PageRuns.PAGE_BYTES;
    for (MemoryMapping mapping : mappings) {
      if (offset >= mapping.offset() && end <= mapping.offset() + mapping.bytes()) {
        return mapping.start() + offset - mapping.offset();
      }
    }
    throw new IOException(
        "pages " + pages.first(run) + "+" + pages.length(run) + " are not mapped by pid " + pid);
  }

  /** A second time is harmless. */
  @Override
  public void close() throws IOException {
    using.lock();
    try {
      if (!closed) {
        closed = true;
        Libc.close(pagemap);
      }
    } finally {
      using.unlock();
    }
  }
}
