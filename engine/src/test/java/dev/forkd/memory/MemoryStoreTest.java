package dev.forkd.memory;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.Memfd;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MemoryStoreTest {
  private static final int PAGES = 256;
  private static final long SIZE = (long) PAGES * PageRuns.PAGE_BYTES;

  @TempDir Path dir;
  private MemoryStore store;

  @BeforeEach
  void open() throws IOException {
    Files.createDirectories(dir.resolve("ram"));
    Files.createDirectories(dir.resolve("staging"));
    store = new MemoryStore(dir.resolve("ram"), dir.resolve("staging"));
  }

  @AfterEach
  void close() {
    store.close();
  }

  private MemoryImage flat(byte[] content) throws IOException {
    Memfd memory = Memfd.create("test", SIZE);
    try (FileChannel channel = memory.channel()) {
      channel.write(ByteBuffer.wrap(content), 0);
    }
    return store.addFlat("mflat", memory);
  }

  private static byte[] read(MemoryStore.Lease lease) throws IOException {
    ByteBuffer all = ByteBuffer.allocate((int) SIZE);
    try (FileChannel channel = lease.memory().channel()) {
      while (all.hasRemaining() && channel.read(all, all.position()) > 0) {}
    }
    return all.array();
  }

  private MemoryImage delta(String id, MemoryImage parent, byte[] model, Random random) {
    PageRuns.Builder runs = new PageRuns.Builder();
    for (int page = 0; page < PAGES; page += 1 + random.nextInt(30)) {
      int length = Math.min(PAGES - page, 1 + random.nextInt(5));
      runs.add(page, length);
      page += length;
    }
    PageRuns pages = runs.build();
    try (PageBuffer buffer = new PageBuffer()) {
      buffer.ensure(pages.bytes());
      long packed = 0;
      for (int i = 0; i < pages.runs(); i++) {
        byte[] content = new byte[(int) pages.length(i) * PageRuns.PAGE_BYTES];
        random.nextBytes(content);
        buffer.slice(packed, content.length).put(content);
        System.arraycopy(
            content, 0, model, (int) pages.first(i) * PageRuns.PAGE_BYTES, content.length);
        packed += content.length;
      }
      return store.addDelta(id, parent, pages, buffer);
    }
  }

  /** A chain of deltas reads as the memory it was made from, also from disk alone. */
  @Test
  void chainsReadAsWritten() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    byte[] model = new byte[(int) SIZE];
    random.nextBytes(model);
    MemoryImage flat = flat(model);
    MemoryImage first = delta("m1", flat, model, random);
    MemoryImage second = delta("m2", first, model, random);
    try (MemoryStore fresh = new MemoryStore(dir.resolve("ram"), dir.resolve("staging"));
        MemoryStore.Lease cold = fresh.lease(List.of(second, first, flat));
        MemoryStore.Lease warm = store.lease(List.of(second, first, flat))) {
      assertThat(read(cold)).as("seed %d", seed).isEqualTo(model);
      assertThat(read(warm)).as("seed %d", seed).isEqualTo(model);
    }
    assertThat(store.list()).containsExactly("m1", "m2", "mflat");
  }

  /** Any byte of a delta that changed on disk is found, and the file is named. */
  @Test
  void damageIsFound() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    byte[] model = new byte[(int) SIZE];
    MemoryImage flat = flat(model);
    MemoryImage image = delta("mbad", flat, model, random);
    Path file = dir.resolve("ram/mbad.delta");
    int header = 64; // every byte of the header and the first runs, then bytes anywhere
    for (int round = 0; round < header + 50; round++) {
      long at = round < header ? round : random.nextLong(Files.size(file));
      flip(file, at);
      try (MemoryStore fresh = new MemoryStore(dir.resolve("ram"), dir.resolve("staging"))) {
        assertThatThrownBy(() -> fresh.lease(List.of(image, flat)).close())
            .as("seed %d, byte %d", seed, at)
            .isInstanceOfSatisfying(
                ForkdException.class,
                e -> {
                  assertThat(e.code()).isEqualTo(ErrorCode.DATA_LOSS);
                  assertThat(e.message()).contains("mbad.delta");
                });
      }
      flip(file, at);
    }
  }

  /**
   * A byte of a parent's flat image that changed is found by its hash when a child is assembled,
   * the file is named, and the parent's own hot copy is not trusted either.
   */
  @Test
  void damagedParentIsNamed() throws Exception {
    byte[] model = new byte[(int) SIZE];
    new Random(3).nextBytes(model);
    MemoryImage flat = flat(model);
    MemoryImage child = delta("mchild", flat, model, new Random(4));
    Path file = dir.resolve("ram/mflat.flat");
    flip(file, 77_777);
    try (MemoryStore fresh = new MemoryStore(dir.resolve("ram"), dir.resolve("staging"))) {
      for (List<MemoryImage> chain : List.of(List.of(child, flat), List.of(flat))) {
        assertThatThrownBy(() -> fresh.lease(chain).close())
            .isInstanceOfSatisfying(
                ForkdException.class,
                e -> {
                  assertThat(e.code()).isEqualTo(ErrorCode.DATA_LOSS);
                  assertThat(e.message()).contains("mflat.flat").contains(flat.contentHash());
                });
      }
      assertThatThrownBy(() -> fresh.flatten("mnew", List.of(child, flat)))
          .hasMessageContaining("mflat.flat");
      assertThat(fresh.list()).containsExactly("mchild", "mflat");
      flip(file, 77_777);
      fresh.lease(List.of(child, flat)).close();
    }
  }

  /** A flat image made of a chain reads as the chain does, and stands when that is gone. */
  @Test
  void flattenedChainsReadTheSame() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    byte[] model = new byte[(int) SIZE];
    random.nextBytes(model);
    MemoryImage flat = flat(model);
    MemoryImage first = delta("m1", flat, model, random);
    MemoryImage second = delta("m2", first, model, random);
    MemoryImage whole = store.flatten("mwhole", List.of(second, first, flat));
    assertThat(whole.parent()).isEmpty();
    MemoryImage again = store.flatten("magain", List.of(whole));
    assertThat(again.contentHash()).isEqualTo(whole.contentHash());
    for (String id : List.of("m2", "m1", "mflat", "mwhole")) {
      store.delete(id);
    }
    try (MemoryStore fresh = new MemoryStore(dir.resolve("ram"), dir.resolve("staging"));
        MemoryStore.Lease lease = fresh.lease(List.of(again))) {
      assertThat(read(lease)).as("seed %d", seed).isEqualTo(model);
    }
  }

  /** A file that was seen to be intact is not read for it again until it is touched. */
  @Test
  void verdictsAreRemembered() throws Exception {
    MemoryImage flat = flat(new byte[(int) SIZE]);
    Path file = dir.resolve("ram/mflat.flat");
    MemoryImage lie =
        new MemoryImage(flat.id(), SIZE, java.util.Optional.empty(), 0, "0".repeat(64));
    // Whoever forges a verdict is believed: nobody looks at the file.
    new Verdicts(dir.resolve("ram.intact"))
        .remember(lie.id(), lie.contentHash(), Verdicts.Stamp.of(file));
    try (ImageFiles files = open(dir)) {
      files.check(lie, java.util.Optional.empty()).await();
      Files.setLastModifiedTime(file, java.nio.file.attribute.FileTime.fromMillis(1));
      assertThatThrownBy(() -> files.check(lie, java.util.Optional.empty()).await())
          .isInstanceOf(IOException.class);
      // The verdict is about the file and its hash: another hash is looked at.
      files.check(flat, java.util.Optional.empty()).await();
      assertThatThrownBy(() -> files.check(lie, java.util.Optional.empty()).await())
          .isInstanceOf(IOException.class);
    }
  }

  private static ImageFiles open(Path dir) throws IOException {
    return new ImageFiles(dir.resolve("ram"), dir.resolve("staging"));
  }

  /** A deep chain is assembled in one copy, from the files or from the nearest hot ancestor. */
  @Test
  void deepChains() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    byte[] model = new byte[(int) SIZE];
    random.nextBytes(model);
    List<MemoryImage> chain = new ArrayList<>(List.of(flat(model)));
    byte[] middle = {};
    for (int i = 0; i < 40; i++) {
      chain.addFirst(delta("m" + i, chain.getFirst(), model, random));
      middle = i == 20 ? model.clone() : middle;
    }
    List<MemoryImage> lower = chain.subList(19, chain.size());
    assertThat(lower.getFirst().id()).isEqualTo("m20");
    try (MemoryStore fresh = new MemoryStore(dir.resolve("ram"), dir.resolve("staging"))) {
      try (MemoryStore.Lease cold = fresh.lease(lower)) {
        assertThat(read(cold)).as("seed %d", seed).isEqualTo(middle);
        // Of the files below the hot one none is needed any more.
        Files.delete(dir.resolve("ram/mflat.flat"));
        try (MemoryStore.Lease warm = fresh.lease(chain)) {
          assertThat(read(warm)).as("seed %d", seed).isEqualTo(model);
        }
      }
    }
  }

  /** Until the change can be seen in the file's times, whose clock may tick but every 10 ms. */
  private static void flip(Path file, long at) throws Exception {
    Verdicts.Stamp before = Verdicts.Stamp.of(file);
    try (RandomAccessFile bytes = new RandomAccessFile(file.toFile(), "rw")) {
      bytes.seek(at);
      int flipped = bytes.read() ^ 0x10;
      do {
        bytes.seek(at);
        bytes.write(flipped);
        Thread.sleep(Verdicts.Stamp.of(file).equals(before) ? 2 : 0);
      } while (Verdicts.Stamp.of(file).equals(before));
    }
  }

  /** A missing file is data loss, not a crash, and the store goes on. */
  @Test
  void missingImage() throws Exception {
    MemoryImage gone =
        new MemoryImage("mgone", SIZE, java.util.Optional.empty(), 0, "0".repeat(64));
    assertThatThrownBy(() -> store.lease(List.of(gone)).close())
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DATA_LOSS));
    MemoryImage flat = flat(new byte[(int) SIZE]);
    try (MemoryStore.Lease lease = store.lease(List.of(flat))) {
      assertThat(lease.memory().sizeBytes()).isEqualTo(SIZE);
    }
  }

  /** What is leased stays usable when it is deleted, and is gone afterwards. */
  @Test
  void deleteWhileLeased() throws Exception {
    byte[] model = new byte[(int) SIZE];
    model[5] = 9;
    MemoryImage flat = flat(model);
    try (MemoryStore.Lease lease = store.lease(List.of(flat))) {
      store.delete(flat.id());
      assertThat(read(lease)[5]).isEqualTo((byte) 9);
    }
    assertThat(store.list()).isEmpty();
  }

  /** More memory than the host has is refused before anything is taken, with the arithmetic. */
  @Test
  void impossibleSizeIsRefused() {
    assertThatThrownBy(() -> HostMemory.require("a test", Long.MAX_VALUE / 2))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.RESOURCE_EXHAUSTED);
              assertThat(e.message()).contains("a test needs", "MiB available");
            });
  }
}
