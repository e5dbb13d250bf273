package dev.forkd.disk;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.DurableFiles;
import dev.forkd.linux.SparseFiles;
import dev.forkd.memory.ContentHash;
import dev.forkd.memory.Verdicts;
import dev.forkd.vmm.DiskLayer;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.Stream;

/**
 * The disk layers of a data directory. A layer's file has one path for life: QEMU processes know it
 * by that path, whether it is still somebody's overlay or long immutable.
 *
 * <p>An overlay is a copy of an empty one made once per disk size: running qemu-img takes a hundred
 * times as long.
 */
public final class DiskLayers implements AutoCloseable {
  private static final long QEMU_IMG_TIMEOUT_SECONDS = 60;
  private static final int SEAL_ATTEMPTS = 5;

  private final Path folder;
  private final Path staging;
  private final ReentrantLock preparing = new ReentrantLock();
  private final ReentrantLock hashing = new ReentrantLock();
  private final ContentHash hasher = new ContentHash();
  private final Verdicts verdicts;

  /** By disk size. */
  private final Map<Long, EmptyOverlay> empties = new ConcurrentHashMap<>();

  /**
   * @param folder holds the layers
   * @param staging holds unfinished files; on the same file system
   */
  public DiskLayers(Path folder, Path staging) {
    this.folder = folder;
    this.staging = staging;
    this.verdicts = new Verdicts(folder.resolveSibling(folder.getFileName() + ".intact"));
    if (Files.isDirectory(folder)) {
      verdicts.keep(list());
    }
  }

  /**
   * What a layer holds for good.
   *
   * @param contentHash 64 lower-case hexadecimal digits, as of a memory image
   */
  public record Seal(long sizeBytes, String contentHash) {}

  /**
   * Makes a layer that nobody writes any more durable and tells what it holds. One that was sealed
   * before is not read again.
   */
  public Seal seal(DiskLayer layer) {
    try {
      Verdicts.Stamp before = Verdicts.Stamp.of(layer.path());
      Optional<String> known = verdicts.hash(layer.id(), before);
      if (known.isPresent()) {
        return new Seal(before.sizeBytes(), known.get());
      }
      // A copy of the VM that wrote it may write once more what it held back: the same bytes.
      for (int attempt = 1; attempt <= SEAL_ATTEMPTS; attempt++) {
        ContentHash.Pending hash = hasher.begin(layer.path(), Optional.empty());
        DurableFiles.sync(layer.path());
        String found = hash.await();
        Verdicts.Stamp after = Verdicts.Stamp.of(layer.path());
        if (after.equals(before)) {
          verdicts.remember(layer.id(), found, after);
          return new Seal(after.sizeBytes(), found);
        }
        before = after;
      }
      throw new IOException("it is still being written");
    } catch (IOException e) {
      throw failed("make disk layer " + layer.path() + " durable", e);
    }
  }

  /**
   * Checks that a layer is there and holds what it held when it was sealed. Its size is compared
   * each time; it is read only when its file has changed since it was last found to be right, and
   * once for each boot of the host.
   *
   * @param sealed empty for one of a time when layers were not sealed
   * @throws IOException saying how it is damaged
   */
  public void check(DiskLayer layer, Optional<Seal> sealed) throws IOException {
    Verdicts.Stamp stamp = stamp(layer);
    if (sealed.isEmpty() || verdicts.known(layer.id(), sealed.get().contentHash(), stamp)) {
      return;
    }
    Seal wanted = sealed.get();
    if (stamp.sizeBytes() != wanted.sizeBytes()) {
      throw new IOException(
          "it has " + stamp.sizeBytes() + " bytes, expected " + wanted.sizeBytes());
    }
    hashing.lock();
    try {
      if (verdicts.known(layer.id(), wanted.contentHash(), stamp)) {
        return;
      }
      String found = hasher.begin(layer.path(), Optional.empty()).await();
      if (!found.equals(wanted.contentHash())) {
        throw new IOException(
            "its content hash is " + found + ", expected " + wanted.contentHash());
      }
      verdicts.remember(layer.id(), found, stamp);
    } finally {
      hashing.unlock();
    }
  }

  private static Verdicts.Stamp stamp(DiskLayer layer) throws IOException {
    try {
      return Verdicts.Stamp.of(layer.path());
    } catch (NoSuchFileException e) {
      throw new IOException("it is missing", e);
    }
  }

  /** The layer with this id, whether or not its file is there. */
  public DiskLayer layer(String id, DiskLayer.Format format) {
    return new DiskLayer(id, folder.resolve(id + extension(format)), format);
  }

  private static String extension(DiskLayer.Format format) {
    return switch (format) {
      case RAW -> ".raw";
      case QCOW2 -> ".qcow2";
    };
  }

  /** Takes a finished raw image, which is in staging, as the root of a chain. */
  public DiskLayer adoptRoot(String id, Path image) {
    DiskLayer layer = layer(id, DiskLayer.Format.RAW);
    try {
      DurableFiles.sync(image);
      DurableFiles.publish(image, layer.path());
      return layer;
    } catch (IOException e) {
      throw failed("store the root image " + id, e);
    }
  }

  /** A new empty overlay for disks of this size. */
  public DiskLayer newOverlay(String id, long diskBytes) {
    DiskLayer layer = layer(id, DiskLayer.Format.QCOW2);
    try {
      emptyOverlay(diskBytes).writeTo(layer.path());
      return layer;
    } catch (IOException e) {
      try {
        Files.deleteIfExists(layer.path());
      } catch (IOException left) {
        e.addSuppressed(left);
      }
      throw failed("make the disk overlay " + layer.path(), e);
    }
  }

  private EmptyOverlay emptyOverlay(long diskBytes) throws IOException {
    Optional<EmptyOverlay> known = Optional.ofNullable(empties.get(diskBytes));
    if (known.isPresent()) {
      return known.get();
    }
    EmptyOverlay read = EmptyOverlay.read(empty(diskBytes));
    empties.put(diskBytes, read);
    return read;
  }

  private Path empty(long diskBytes) throws IOException {
    Path empty = folder.resolve("empty-" + diskBytes + ".qcow2");
    if (Files.exists(empty)) {
      return empty;
    }
    preparing.lock();
    try {
      if (!Files.exists(empty)) {
        Path unfinished = staging.resolve(String.valueOf(empty.getFileName()));
        qemuImg(
            List.of(
                "qemu-img",
                "create",
                "-q",
                "-f",
                "qcow2",
                unfinished.toString(),
                Long.toString(diskBytes)));
        Files.move(unfinished, empty, StandardCopyOption.ATOMIC_MOVE);
      }
      return empty;
    } finally {
      preparing.unlock();
    }
  }

  private static void qemuImg(List<String> command) throws IOException {
    Process process;
    try {
      process = new ProcessBuilder(command).redirectErrorStream(true).start();
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "qemu-img not found: install it (Debian: apt-get install qemu-utils)",
          e);
    }
    process.getOutputStream().close();
    byte[] output = process.getInputStream().readNBytes(4096);
    try {
      if (!process.waitFor(QEMU_IMG_TIMEOUT_SECONDS, TimeUnit.SECONDS)) {
        process.destroyForcibly();
        throw new IOException("qemu-img took longer than " + QEMU_IMG_TIMEOUT_SECONDS + " s");
      }
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted in qemu-img", e);
    }
    if (process.exitValue() != 0) {
      throw new IOException(
          String.join(" ", command) + ": " + new String(output, StandardCharsets.UTF_8).strip());
    }
  }

  /** Space a layer takes. */
  public long storedBytes(DiskLayer layer) {
    try {
      return SparseFiles.dataPages(layer.path()).bytes();
    } catch (IOException e) {
      throw failed("measure disk layer " + layer.path(), e);
    }
  }

  /** Removes a layer nobody stands on; harmless when it is gone. */
  public void delete(String id) {
    verdicts.forget(id);
    try {
      for (DiskLayer.Format format : DiskLayer.Format.values()) {
        Files.deleteIfExists(layer(id, format).path());
      }
    } catch (IOException e) {
      throw failed("delete disk layer " + id, e);
    }
  }

  /** Ids of all layers that have a file. */
  public List<String> list() {
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .map(file -> String.valueOf(file.getFileName()))
          .filter(name -> !name.startsWith("empty-"))
          .map(name -> name.replaceFirst("\\.(raw|qcow2)$", ""))
          .sorted()
          .toList();
    } catch (IOException e) {
      throw failed("list " + folder, e);
    }
  }

  @Override
  public void close() {
    hasher.close();
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
}
