package dev.forkd.memory;

import dev.forkd.linux.DurableFiles;
import dev.forkd.linux.Memfd;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import dev.forkd.linux.SparseFiles;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * Memory images as files: written under a name of {@code staging}, hashed and made durable, and
 * given their final name when complete. What was hashed once is trusted as long as the file's
 * inode, size and times stay the same; see {@link Verdicts}.
 *
 * <p>Thread-safe, but for one id at a time.
 */
final class ImageFiles implements AutoCloseable {
  private static final String FLAT = ".flat";
  private static final String DELTA = ".delta";

  private final Path folder;
  private final Path staging;
  private final ContentHash hasher = new ContentHash();

  private final Verdicts verdicts;

  ImageFiles(Path folder, Path staging) throws IOException {
    this.folder = folder;
    this.staging = staging;
    this.verdicts = new Verdicts(folder.resolveSibling(folder.getFileName() + ".intact"));
    verdicts.keep(list());
  }

  /** Ids of all complete images. */
  List<String> list() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(ImageFiles::idOf).sorted().toList();
    }
  }

  private static String idOf(Path file) {
    String name = String.valueOf(file.getFileName());
    int dot = name.lastIndexOf('.');
    return dot < 0 ? name : name.substring(0, dot);
  }

  Path file(MemoryImage image) {
    return folder.resolve(image.id() + (image.parent().isPresent() ? DELTA : FLAT));
  }

  /** Stages a flat image with the data of {@code memory}. */
  void stageFlat(String id, Memfd memory) throws IOException {
    try (FileChannel in = memory.channel();
        FileChannel out = create(id)) {
      SparseFiles.copyPages(in, out, memory.dataPages());
      setSize(out, memory.sizeBytes());
    }
  }

  /** Stages a flat image from pages packed in {@code pages}. */
  void stageFlat(String id, long sizeBytes, PageRuns runs, PageBuffer pages) throws IOException {
    try (FileChannel out = create(id)) {
      long packed = 0;
      for (int i = 0; i < runs.runs(); i++) {
        long at = runs.first(i) * PageRuns.PAGE_BYTES;
        long end = at + runs.length(i) * PageRuns.PAGE_BYTES;
        while (at < end) {
          long piece = Math.min(end - at, 64L << 20);
          int written = out.write(pages.slice(packed, piece), at);
          at += written;
          packed += written;
        }
      }
      setSize(out, sizeBytes);
    }
  }

  /** Stages a flat image that reads as {@code chain} does; a reflink where there are such. */
  void stageFlat(String id, List<MemoryImage> chain) throws IOException {
    Path unfinished = staging.resolve(id + FLAT);
    SparseFiles.cloneOrCopy(file(chain.getLast()), unfinished);
    try (FileChannel out = FileChannel.open(unfinished, StandardOpenOption.WRITE)) {
      for (MemoryImage delta : chain.subList(0, chain.size() - 1).reversed()) {
        applyDelta(delta, out);
      }
    }
  }

  private FileChannel create(String id) throws IOException {
    return FileChannel.open(
        staging.resolve(id + FLAT), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
  }

  private static void setSize(FileChannel out, long sizeBytes) throws IOException {
    if (out.size() < sizeBytes) {
      out.write(ByteBuffer.allocate(1), sizeBytes - 1);
    }
  }

  /** Makes a staged flat image durable and gives it its final name. */
  MemoryImage publishFlat(String id, long sizeBytes) throws IOException {
    Path unfinished = staging.resolve(id + FLAT);
    long stored = SparseFiles.dataPages(unfinished).bytes();
    String hash = publish(id, unfinished, Optional.empty());
    return new MemoryImage(id, sizeBytes, Optional.empty(), stored, hash);
  }

  /** Stores the pages in which a new image differs from {@code parent}. */
  MemoryImage addDelta(String id, MemoryImage parent, PageRuns runs, PageBuffer pages)
      throws IOException {
    Path unfinished = staging.resolve(id + DELTA);
    DeltaFile.write(unfinished, parent.sizeBytes(), runs, pages);
    String hash = publish(id, unfinished, Optional.of(parent.contentHash()));
    return new MemoryImage(id, parent.sizeBytes(), Optional.of(parent.id()), runs.bytes(), hash);
  }

  /** Hashes while the disk is busy, so that the hash takes little time of its own. */
  private String publish(String id, Path unfinished, Optional<String> parent) throws IOException {
    ContentHash.Pending pending = hasher.begin(unfinished, parent);
    DurableFiles.sync(unfinished);
    String hash = pending.await();
    Path finished = folder.resolve(String.valueOf(unfinished.getFileName()));
    DurableFiles.publish(unfinished, finished);
    verdicts.remember(id, hash, Verdicts.Stamp.of(finished));
    return hash;
  }

  /** Tells later whether a file is what was written. */
  interface Check {
    /**
     * Waits for the verdict.
     *
     * @throws IOException when the file is damaged
     */
    void await() throws IOException;
  }

  /**
   * Begins to check the file of one image; not of those it stands on.
   *
   * @param parent the image a delta stands on
   */
  Check check(MemoryImage image, Optional<MemoryImage> parent) throws IOException {
    Path file = file(image);
    Verdicts.Stamp stamp = Verdicts.Stamp.of(file);
    if (verdicts.known(image.id(), image.contentHash(), stamp)) {
      return () -> {};
    }
    ContentHash.Pending pending = hasher.begin(file, parent.map(MemoryImage::contentHash));
    return () -> {
      String found = pending.await();
      if (!found.equals(image.contentHash())) {
        throw new IOException(
            "its content hash is "
                + found
                + ", expected "
                + image.contentHash()
                + ": it, or the record of it, was changed since it was written. Delete the"
                + " snapshots that stand on it (forkd rmi) and make them again");
      }
      verdicts.remember(image.id(), found, stamp);
    };
  }

  /** Whether the file of an image is as it was when it was found to be right. */
  boolean unchanged(MemoryImage image) {
    try {
      return verdicts.known(image.id(), image.contentHash(), Verdicts.Stamp.of(file(image)));
    } catch (IOException e) {
      return false;
    }
  }

  /** Copies the data of a flat image to the same places in {@code out}. */
  void copyFlat(MemoryImage image, FileChannel out) throws IOException {
    Path file = file(image);
    try (FileChannel in = FileChannel.open(file, StandardOpenOption.READ)) {
      if (in.size() != image.sizeBytes()) {
        throw new IOException("it has " + in.size() + " bytes, expected " + image.sizeBytes());
      }
      SparseFiles.copyPages(in, out, SparseFiles.dataPages(file));
    }
  }

  /** Puts the pages of a delta in their places in {@code out}. */
  void applyDelta(MemoryImage image, FileChannel out) throws IOException {
    DeltaFile.apply(file(image), image.sizeBytes(), out);
  }

  /** Removes an image, finished or not. */
  void delete(String id) throws IOException {
    verdicts.forget(id);
    for (Path place : List.of(folder, staging)) {
      Files.deleteIfExists(place.resolve(id + FLAT));
      Files.deleteIfExists(place.resolve(id + DELTA));
    }
  }

  @Override
  public void close() {
    hasher.close();
  }
}
