package dev.forkd.memory;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.Memfd;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import dev.forkd.linux.SparseFiles;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The memory images of a data directory, and their hot copies: write-sealed memory that children
 * map. A hot copy is assembled on first use and kept while somebody holds a {@link Lease}, and some
 * time longer.
 *
 * <p>Thread-safe. Files appear under their final name only when complete and durable.
 */
public final class MemoryStore implements AutoCloseable {
  /** Hot copies kept although nobody holds them. */
  private static final int MAX_UNUSED_HOT = 6;

  private final ImageFiles files;
  private final Assembly assembly;
  private final Map<String, Hot> hot = new HashMap<>();
  private final ReentrantLock lock = new ReentrantLock();
  private long clock;

  /** A hot copy. Its own lock is held while it is assembled. */
  private static final class Hot {
    final ReentrantLock assembling = new ReentrantLock();
    Optional<Memfd> memory = Optional.empty();
    int leases;
    long lastUse;
  }

  /** The right to hand a hot copy to children; close it when they have it mapped. */
  public final class Lease implements AutoCloseable {
    private final String id;
    private final Memfd memory;
    private boolean closed;

    private Lease(String id, Memfd memory) {
      this.id = id;
      this.memory = memory;
    }

    public Memfd memory() {
      return memory;
    }

    @Override
    public void close() {
      if (!closed) {
        closed = true;
        release(id);
      }
    }
  }

  /**
   * @param folder holds the images
   * @param staging holds unfinished ones; on the same file system
   */
  public MemoryStore(Path folder, Path staging) {
    try {
      this.files = new ImageFiles(folder, staging);
    } catch (IOException e) {
      throw failed("open the memory images in " + folder, e);
    }
    this.assembly = new Assembly(files, this::leaseIfHot);
  }

  /** Ids of all images on disk. */
  public List<String> list() {
    try {
      return files.list();
    } catch (IOException e) {
      throw failed("list memory images", e);
    }
  }

  /**
   * Takes the memory of a VM that is gone as a new flat image: seals it, keeps it hot, and writes
   * it to disk.
   */
  public MemoryImage addFlat(String id, Memfd memory) {
    try {
      memory.seal();
      files.stageFlat(id, memory);
      MemoryImage image = files.publishFlat(id, memory.sizeBytes());
      Hot entry = new Hot();
      entry.memory = Optional.of(memory);
      lock.lock();
      try {
        entry.lastUse = ++clock;
        hot.put(id, entry);
      } finally {
        lock.unlock();
      }
      return image;
    } catch (IOException e) {
      throw failed("store memory image " + id, e);
    }
  }

  /**
   * Writes a flat image from pages packed in {@code pages}, into staging and without making it
   * durable: {@link #publishFlat} does that.
   */
  public void stageFlat(String id, long sizeBytes, PageRuns runs, PageBuffer pages) {
    try {
      files.stageFlat(id, sizeBytes, runs, pages);
    } catch (IOException e) {
      throw failed("stage memory image " + id, e);
    }
  }

  /** Makes a staged flat image durable and gives it its final name. */
  public MemoryImage publishFlat(String id, long sizeBytes) {
    try {
      return files.publishFlat(id, sizeBytes);
    } catch (IOException e) {
      throw failed("store memory image " + id, e);
    }
  }

  /**
   * Of pages packed in {@code pages}, those that are not as {@code chain} has them; they are moved
   * to its start.
   *
   * @param chain images to compare with, the nearest first; of deltas only the pages they store
   *     themselves count
   */
  public PageRuns differing(List<MemoryImage> chain, PageRuns runs, PageBuffer pages) {
    if (chain.isEmpty()) {
      return runs;
    }
    try (InheritedPages inherited = new InheritedPages(files, chain)) {
      return inherited.differing(runs, pages);
    } catch (IOException e) {
      throw assembly.damaged(chain.getFirst(), e);
    }
  }

  /** Whether the files of these images are as they were when they were written or checked. */
  public boolean unchanged(List<MemoryImage> chain) {
    return chain.stream().allMatch(files::unchanged);
  }

  /** Stores the pages in which a new image differs from {@code parent}. */
  public MemoryImage addDelta(String id, MemoryImage parent, PageRuns runs, PageBuffer pages) {
    try {
      return files.addDelta(id, parent, runs, pages);
    } catch (IOException e) {
      throw failed("store memory delta " + id, e);
    }
  }

  /**
   * Makes a flat image that reads as {@code chain} does and needs none of it.
   *
   * @param chain an image, then its parent, and so on down to a flat one
   * @throws ForkdException DATA_LOSS when one of them is damaged
   */
  public MemoryImage flatten(String id, List<MemoryImage> chain) {
    assembly.verify(chain);
    try {
      files.stageFlat(id, chain);
      return files.publishFlat(id, chain.getFirst().sizeBytes());
    } catch (IOException e) {
      throw failed("store memory image " + id, e);
    }
  }

  /**
   * Space the file of an image takes; what it stands on not counted.
   *
   * @throws ForkdException DATA_LOSS when it is missing
   */
  public long storedBytes(MemoryImage image) {
    try {
      return SparseFiles.dataPages(files.file(image)).bytes();
    } catch (IOException e) {
      throw assembly.damaged(image, e);
    }
  }

  /** Where an image is on disk. */
  public Path file(MemoryImage image) {
    return files.file(image);
  }

  /** The pages a flat image has data for; for a delta those of all it stands on. */
  public PageRuns dataPages(List<MemoryImage> chain) {
    try (Lease lease = lease(chain)) {
      return lease.memory().dataPages();
    } catch (IOException e) {
      throw failed("look for data in memory image " + chain.getFirst().id(), e);
    }
  }

  /**
   * The hot copy of an image, assembled now if need be.
   *
   * @param chain the image, then its parent, and so on down to a flat one
   * @throws ForkdException DATA_LOSS when a file is missing or damaged, RESOURCE_EXHAUSTED when the
   *     host has too little memory
   */
  public Lease lease(List<MemoryImage> chain) {
    MemoryImage image = chain.getFirst();
    Hot entry;
    lock.lock();
    try {
      entry = hot.computeIfAbsent(image.id(), _ -> new Hot());
      entry.leases++;
      entry.lastUse = ++clock;
    } finally {
      lock.unlock();
    }
    entry.assembling.lock();
    try {
      if (entry.memory.isEmpty()) {
        entry.memory = Optional.of(assembly.assemble(chain));
      }
      return new Lease(image.id(), entry.memory.get());
    } catch (RuntimeException e) {
      release(image.id());
      throw e;
    } finally {
      entry.assembling.unlock();
    }
  }

  /** A lease of a hot copy, if it is there; one that is just being assembled is not waited for. */
  private Optional<Lease> leaseIfHot(MemoryImage image) {
    Hot entry;
    lock.lock();
    try {
      Optional<Hot> there = Optional.ofNullable(hot.get(image.id()));
      if (there.isEmpty()) {
        return Optional.empty();
      }
      entry = there.get();
      entry.leases++;
      entry.lastUse = ++clock;
    } finally {
      lock.unlock();
    }
    if (entry.assembling.tryLock()) {
      try {
        if (entry.memory.isPresent()) {
          return Optional.of(new Lease(image.id(), entry.memory.get()));
        }
      } finally {
        entry.assembling.unlock();
      }
    }
    release(image.id());
    return Optional.empty();
  }

  private void release(String id) {
    lock.lock();
    try {
      Hot entry = hot.get(id);
      if (entry != null) {
        entry.leases--;
        trim();
      }
    } finally {
      lock.unlock();
    }
  }

  private void trim() {
    List<String> unused =
        hot.entrySet().stream()
            .filter(entry -> entry.getValue().leases == 0)
            .sorted(Comparator.comparingLong(entry -> entry.getValue().lastUse))
            .map(Map.Entry::getKey)
            .toList();
    for (int i = 0; i < unused.size() - MAX_UNUSED_HOT; i++) {
      drop(unused.get(i));
    }
  }

  private void drop(String id) {
    Hot entry = hot.remove(id);
    if (entry != null) {
      entry.memory.ifPresent(Memfd::close);
    }
  }

  /**
   * Removes an image, finished or not, and its hot copy; what has it mapped keeps it until it lets
   * go.
   */
  public void delete(String id) {
    lock.lock();
    try {
      Hot entry = hot.get(id);
      if (entry != null && entry.leases == 0) {
        drop(id);
      }
      files.delete(id);
    } catch (IOException e) {
      throw failed("delete memory image " + id, e);
    } finally {
      lock.unlock();
    }
  }

  private static ForkdException failed(String what, IOException cause) {
    String reason = String.valueOf(cause.getMessage());
    boolean full = reason.contains("No space left");
    return new ForkdException(
        full ? ErrorCode.RESOURCE_EXHAUSTED : ErrorCode.INTERNAL,
        what
            + ": "
            + reason
            + (full ? ". Free space in the data directory, or delete snapshots (forkd rmi)" : ""),
        cause);
  }

  @Override
  public void close() {
    lock.lock();
    try {
      List.copyOf(hot.keySet()).forEach(this::drop);
    } finally {
      lock.unlock();
    }
    files.close();
  }
}
