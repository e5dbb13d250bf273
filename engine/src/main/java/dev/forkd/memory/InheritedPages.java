package dev.forkd.memory;

import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;

/**
 * Leaves out the pages of a copy that are as they are in an image. A VM whose process was copied
 * from a branched one has, as pages of its own, all in which the branch differs from what both map:
 * that a page is its own does not say that it has written it.
 */
final class InheritedPages implements AutoCloseable {
  /** One image's file, with the pages it stores. */
  private record Stored(FileChannel file, boolean flat, PageRuns runs, long dataOffset) {
    /** Where the file has a page. */
    OptionalLong offset(long page) {
      if (flat) {
        return OptionalLong.of(page * PageRuns.PAGE_BYTES);
      }
      long packed = 0;
      int low = 0;
      int high = runs.runs() - 1;
      while (low <= high) {
        int middle = (low + high) >>> 1;
        if (page < runs.first(middle)) {
          high = middle - 1;
        } else if (page >= runs.first(middle) + runs.length(middle)) {
          low = middle + 1;
        } else {
          packed = runs.pagesBefore(middle) + page - runs.first(middle);
          return OptionalLong.of(dataOffset + packed * PageRuns.PAGE_BYTES);
        }
      }
      return OptionalLong.empty();
    }
  }

  private final List<Stored> images = new ArrayList<>();

  /**
   * @param chain the images to compare with, the nearest first
   */
  InheritedPages(ImageFiles files, List<MemoryImage> chain) throws IOException {
    try {
      for (MemoryImage image : chain) {
        FileChannel file = FileChannel.open(files.file(image), StandardOpenOption.READ);
        boolean flat = image.parent().isEmpty();
        images.add(new Stored(file, flat, new PageRuns.Builder().build(), 0));
        if (!flat) {
          PageRuns runs = DeltaFile.index(files.file(image), image.sizeBytes());
          images.set(
              images.size() - 1, new Stored(file, false, runs, DeltaFile.dataOffset(runs.runs())));
        }
      }
    } catch (IOException | RuntimeException e) {
      close();
      throw e;
    }
  }

  /**
   * The pages that differ, which are moved to the start of the buffer.
   *
   * @param pages what is packed in {@code buffer}
   */
  PageRuns differing(PageRuns pages, PageBuffer buffer) throws IOException {
    PageRuns.Builder kept = new PageRuns.Builder();
    ByteBuffer stored = ByteBuffer.allocateDirect(PageRuns.PAGE_BYTES);
    long from = 0;
    long to = 0;
    for (int run = 0; run < pages.runs(); run++) {
      for (long i = 0; i < pages.length(run); i++) {
        long page = pages.first(run) + i;
        ByteBuffer content = buffer.slice(from, PageRuns.PAGE_BYTES);
        if (!isStored(page, content, stored)) {
          if (to != from) {
            buffer.slice(to, PageRuns.PAGE_BYTES).put(content);
          }
          kept.add(page, 1);
          to += PageRuns.PAGE_BYTES;
        }
        from += PageRuns.PAGE_BYTES;
      }
    }
    return kept.build();
  }

  /** Whether the nearest image that has the page has it so. */
  private boolean isStored(long page, ByteBuffer content, ByteBuffer stored) throws IOException {
    for (Stored image : images) {
      OptionalLong offset = image.offset(page);
      if (offset.isPresent()) {
        stored.clear();
        while (stored.hasRemaining()) {
          if (image.file().read(stored, offset.getAsLong() + stored.position()) < 0) {
            return false;
          }
        }
        return stored.flip().equals(content);
      }
    }
    return false;
  }

  @Override
  public void close() {
    for (Stored image : images) {
      try {
        image.file().close();
      } catch (IOException e) {
        throw new java.io.UncheckedIOException(e);
      }
    }
  }
}
