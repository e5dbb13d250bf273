package dev.forkd.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PagesTest {
  private static final String CHILD =
      """
      import mmap, sys, ctypes
      m = mmap.mmap(0, 64 * 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
      for page in (3, 4, 5, 40): m[page * 4096] = page
      m[9 * 4096]  # read only: stays the file's
      if len(sys.argv) > 1:
          libc = ctypes.CDLL(None); libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
          at = ctypes.addressof(ctypes.c_char.from_buffer(m)); print(libc.madvise(at, 64 * 4096, 21), flush=True)
      else: print(0, flush=True)
      sys.stderr.readline() if False else __import__('time').sleep(60)
      """;

  /** A private mapping's written pages, and only those, are seen from outside and read right. */
  @Test
  void divergedPagesOfAnotherProcess() throws Exception {
    try (Memfd memfd = image()) {
      Process child = child(memfd);
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

  private static Process child(Memfd memfd) throws IOException {
    Process child =
        new ProcessBuilder("python3", "-c", CHILD)
            .redirectInput(memfd.path().toFile())
            .redirectError(Redirect.INHERIT)
            .start();
    assertThat(child.inputReader().readLine()).isEqualTo("0");
    return child;
  }
}
