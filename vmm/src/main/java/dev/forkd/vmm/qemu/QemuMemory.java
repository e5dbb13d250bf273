package dev.forkd.vmm.qemu;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.MemoryMapping;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import dev.forkd.linux.ProcessPages;
import dev.forkd.vmm.GuestMemory;
import java.io.IOException;
import java.util.List;

/** Guest memory through the page tables of the QEMU process. */
final class QemuMemory implements GuestMemory, AutoCloseable {
  private final String who;
  private final long sizeBytes;
  private final List<MemoryMapping> mappings;
  private final ProcessPages pages;

  private QemuMemory(String who, int pid, long sizeBytes, List<MemoryMapping> mappings)
      throws IOException {
    this.who = who;
    this.sizeBytes = sizeBytes;
    this.mappings = mappings;
    this.pages = new ProcessPages(pid, mappings);
  }

  /** The same in a copy of the process, where it lies at the same addresses. */
  QemuMemory of(String copy, int pid) throws IOException {
    return new QemuMemory(copy, pid, sizeBytes, mappings);
  }

  /** Finds the mappings of the memory file with this inode. */
  static QemuMemory open(String who, int pid, long ramInode, long sizeBytes) {
    try {
      List<MemoryMapping> mappings = MemoryMapping.of(pid, ramInode);
      long mapped = mappings.stream().mapToLong(MemoryMapping::bytes).sum();
      if (mapped != sizeBytes) {
        throw new IOException(mapped + " bytes of guest memory are mapped, expected " + sizeBytes);
      }
      return new QemuMemory(who, pid, sizeBytes, mappings);
    } catch (IOException e) {
      throw failed(who, "find guest memory of pid " + pid, e);
    }
  }

  @Override
  public long sizeBytes() {
    return sizeBytes;
  }

  @Override
  public PageRuns diverged() {
    try {
      return pages.diverged();
    } catch (IOException e) {
      throw failed(who, "scan guest memory", e);
    }
  }

  @Override
  public long ownBytes() {
    try {
      return pages.exclusive(pages.diverged()) * PageRuns.PAGE_BYTES;
    } catch (IOException e) {
      throw failed(who, "scan guest memory", e);
    }
  }

  @Override
  public void read(PageRuns runs, PageBuffer into) {
    try {
      pages.read(runs, into);
    } catch (IOException e) {
      throw failed(who, "copy " + runs + " of guest memory", e);
    }
  }

  private static ForkdException failed(String who, String what, IOException cause) {
    return new ForkdException(
        ErrorCode.UNAVAILABLE, what + " of " + who + ": " + cause.getMessage(), cause);
  }

  @Override
  public void close() {
    try {
      pages.close();
    } catch (IOException e) {
      throw failed(who, "close the page map", e);
    }
  }
}
