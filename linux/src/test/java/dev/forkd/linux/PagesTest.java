package dev.forkd.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PagesTest {
  private static final String CHILD =
      """
      import mmap, sys, ctypes
      m = mmap.mmap(0, 64 * 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
      for page in (3, 4, 5, 40): m[page * 4096] = page
      m[9 * 4096]  # read only: stays the file's
      if len(sys.argv) > 1:  # MADV_PAGEOUT: written pages go to swap, if there is any
          libc = ctypes.CDLL(None); libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
          at = ctypes.addressof(ctypes.c_char.from_buffer(m)); print(libc.madvise(at, 64 * 4096, 21), flush=True)
      else: print(0, flush=True)
      __import__('time').sleep(60)
      """;

  private static final String FRAGMENTS =
      """
      import mmap, sys, time
      n = int(sys.argv[1])
      m = mmap.mmap(0, n * 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
      for page in range(0, n, 2): m[page * 4096] = 1
      for page in range(n - 200, n): m[page * 4096] = 2
      print(0, flush=True)
      time.sleep(60)
      """;

  /** A private mapping's written pages, and only those, are seen from outside and read right. */
  @Test
  void divergedPagesOfAnotherProcess() throws Exception {
    try (Memfd memfd = image()) {
      Process child = child(memfd, CHILD);
      try (ProcessPages pages =
              new ProcessPages(
                  (int) child.pid(), MemoryMapping.of((int) child.pid(), memfd.inode()));
          PageBuffer buffer = new PageBuffer()) {
        PageRuns.Builder expected = new PageRuns.Builder();
        expected.add(3, 3);
        expected.add(40, 1);
        assertThat(pages.diverged()).isEqualTo(expected.build());
        assertThat(pages.scanByReading()).isEqualTo(expected.build());
        buffer.ensure(expected.build().bytes());
        pages.read(expected.build(), buffer);
        ByteBuffer copy = buffer.slice(0, 4 * 4096);
        assertThat(copy.get(0)).isEqualTo((byte) 3);
        assertThat(copy.get(2 * 4096)).isEqualTo((byte) 5);
        assertThat(copy.get(3 * 4096)).isEqualTo((byte) 40);
        assertThat(copy.get(3 * 4096 + 1)).isEqualTo((byte) 7);
      } finally {
        child.destroyForcibly().waitFor();
      }
    }
  }

  /** Pages that were written and swapped out count as well as those in memory. */
  @Test
  void swappedPagesCount() throws Exception {
    try (Memfd memfd = image()) {
      Process child = child(memfd, CHILD, "pageout");
      try (ProcessPages pages =
          new ProcessPages((int) child.pid(), MemoryMapping.of((int) child.pid(), memfd.inode()))) {
        PageRuns.Builder expected = new PageRuns.Builder();
        expected.add(3, 3);
        expected.add(40, 1);
        assertThat(pages.diverged()).isEqualTo(expected.build());
        assertThat(pages.scanByReading()).isEqualTo(expected.build());
      } finally {
        child.destroyForcibly().waitFor();
      }
    }
  }

  /** Memory in so many pieces that neither the kernel's buffer nor ours holds them at once. */
  @Test
  void fragmentedMemory() throws Exception {
    int count = 40_000;
    try (Memfd memfd = Memfd.create("fragments", (long) count * 4096)) {
      Process child = child(memfd, FRAGMENTS, Integer.toString(count));
      try (ProcessPages pages =
          new ProcessPages((int) child.pid(), MemoryMapping.of((int) child.pid(), memfd.inode()))) {
        PageRuns found = pages.diverged();
        assertThat(found.pages()).isEqualTo(count / 2 + 100);
        assertThat(found).isEqualTo(pages.scanByReading());
        assertThat(found.first(1)).isEqualTo(2);
      } finally {
        child.destroyForcibly().waitFor();
      }
    }
  }

  /** A sealed image can be mapped privately but not written, whoever opens it. */
  @Test
  void sealedMemfdCannotBeWritten() throws Exception {
    try (Memfd memfd = image();
        FileChannel channel = memfd.channel()) {
      assertThatThrownBy(() -> channel.write(ByteBuffer.wrap(new byte[] {1}), 0))
          .isInstanceOf(IOException.class);
    }
  }

  /** Holes stay holes in a copy, and the data arrives. */
  @Test
  void sparseCopyKeepsHoles(@TempDir Path dir) throws Exception {
    Path from = dir.resolve("from");
    try (FileChannel channel = new java.io.RandomAccessFile(from.toFile(), "rw").getChannel()) {
      channel.write(ByteBuffer.wrap(new byte[] {5}), 10 * 4096);
      channel.write(ByteBuffer.wrap(new byte[] {6}), (1 << 20) - 1);
    }
    Path to = dir.resolve("to");
    SparseFiles.copy(from, to);
    assertThat(Files.mismatch(from, to)).isEqualTo(-1);
    assertThat(SparseFiles.dataPages(to)).isEqualTo(SparseFiles.dataPages(from));
  }

  /** The union of overlapping runs has each page once. */
  @Test
  void unionOfRuns() {
    PageRuns.Builder a = new PageRuns.Builder();
    a.add(0, 4);
    a.add(10, 2);
    PageRuns.Builder b = new PageRuns.Builder();
    b.add(2, 5);
    b.add(12, 1);
    b.add(20, 1);
    PageRuns.Builder both = new PageRuns.Builder();
    both.add(0, 7);
    both.add(10, 3);
    both.add(20, 1);
    assertThat(a.build().union(b.build())).isEqualTo(both.build());
    assertThat(b.build().union(a.build())).isEqualTo(both.build());
  }

  private static Memfd image() throws IOException {
    Memfd memfd = Memfd.create("pages-test", 64 * 4096);
    try (FileChannel channel = memfd.channel()) {
      byte[] filled = new byte[64 * 4096];
      java.util.Arrays.fill(filled, (byte) 7);
      channel.write(ByteBuffer.wrap(filled), 0);
    }
    memfd.seal();
    return memfd;
  }

  private static Process child(Memfd memfd, String program, String... arguments)
      throws IOException {
    List<String> command = new ArrayList<>(List.of("python3", "-c", program));
    command.addAll(List.of(arguments));
    Process child =
        new ProcessBuilder(command)
            .redirectInput(memfd.path().toFile())
            .redirectError(Redirect.INHERIT)
            .start();
    assertThat(child.inputReader().readLine()).isEqualTo("0");
    return child;
  }
}
