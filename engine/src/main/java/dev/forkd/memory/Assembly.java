package dev.forkd.memory;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.Memfd;
import dev.forkd.linux.SparseFiles;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/** Reads the memory of an image out of its file and those it stands on, trusting none of them. */
final class Assembly {
  private final ImageFiles files;
  private final Function<MemoryImage, Optional<MemoryStore.Lease>> hot;

  /**
   * @param hot gives the hot copy of an image if there is one
   */
  Assembly(ImageFiles files, Function<MemoryImage, Optional<MemoryStore.Lease>> hot) {
    this.files = files;
    this.hot = hot;
  }

  /**
   * A new sealed copy of an image's memory.
   *
   * @param chain the image, then its parent, and so on down to a flat one
   * @throws ForkdException DATA_LOSS naming a file that is missing or damaged, RESOURCE_EXHAUSTED
   *     when the host has too little memory
   */
  Memfd assemble(List<MemoryImage> chain) {
    MemoryImage image = chain.getFirst();
    HostMemory.require("memory image " + image.id(), image.sizeBytes());
    try {
      Memfd memory = Memfd.create("forkd-" + image.id(), image.sizeBytes());
      try (FileChannel out = memory.channel()) {
        fill(out, chain);
      } catch (IOException | RuntimeException e) {
        memory.close();
        throw e;
      }
      memory.seal();
      return memory;
    } catch (IOException e) {
      throw damaged(image, e);
    }
  }

  /**
   * Copies the nearest image that is hot, or else the flat file, and puts the deltas above it in
   * their places: one copy of memory, however long the chain. Every file that is read is checked.
   */
  private void fill(FileChannel out, List<MemoryImage> chain) throws IOException {
    Optional<MemoryStore.Lease> base = Optional.empty();
    int flat = chain.size() - 1;
    int depth = 1;
    while (depth <= flat && base.isEmpty()) {
      base = hot.apply(chain.get(depth++));
    }
    try {
      List<MemoryImage> read = chain.subList(0, base.isPresent() ? depth - 1 : flat + 1);
      List<ImageFiles.Check> checks = new ArrayList<>();
      for (int i = 0; i < read.size(); i++) {
        checks.add(begin(chain, i));
      }
      if (base.isPresent()) {
        Memfd hotter = base.get().memory();
        try (FileChannel in = hotter.channel()) {
          SparseFiles.copyPages(in, out, hotter.dataPages());
        }
      }
      for (MemoryImage image : read.reversed()) {
        put(image, out);
      }
      for (int i = 0; i < read.size(); i++) {
        await(read.get(i), checks.get(i));
      }
    } finally {
      base.ifPresent(MemoryStore.Lease::close);
    }
  }

  private ImageFiles.Check begin(List<MemoryImage> chain, int index) {
    MemoryImage image = chain.get(index);
    try {
      return files.check(image, chain.stream().skip(index + 1L).findFirst());
    } catch (IOException e) {
      throw damaged(image, e);
    }
  }

  private void await(MemoryImage image, ImageFiles.Check check) {
    try {
      check.await();
    } catch (IOException e) {
      throw damaged(image, e);
    }
  }

  private void put(MemoryImage image, FileChannel out) {
    try {
      if (image.parent().isEmpty()) {
        files.copyFlat(image, out);
      } else {
        files.applyDelta(image, out);
      }
    } catch (IOException e) {
      throw damaged(image, e);
    }
  }

  /**
   * Checks every file of a chain.
   *
   * @throws ForkdException DATA_LOSS naming the first that is missing or damaged
   */
  void verify(List<MemoryImage> chain) {
    List<ImageFiles.Check> checks = new ArrayList<>();
    for (int i = 0; i < chain.size(); i++) {
      checks.add(begin(chain, i));
    }
    for (int i = 0; i < chain.size(); i++) {
      await(chain.get(i), checks.get(i));
    }
  }

  ForkdException damaged(MemoryImage image, IOException cause) {
    return new ForkdException(
        ErrorCode.DATA_LOSS,
        "memory image " + files.file(image) + " cannot be used: " + cause.getMessage(),
        cause);
  }
}
