package dev.forkd.guest;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.GuestFiles;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Folders of any size, told by guests that do as they like; the test is the guest. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class AgentListTest {
  private static final int STREAM = 1;

  /** About 40 MB as JSON. */
  private static final int MANY = 200_000;

  @TempDir Path folder;
  private TestGuest guest;
  private GuestAgent agent;

  @BeforeEach
  void connect() throws IOException {
    guest = new TestGuest(folder);
    agent = guest.agent();
  }

  @AfterEach
  void close() throws IOException {
    agent.close();
    guest.close();
  }

  private interface Telling {
    void run() throws IOException;
  }

  /** The guest tells a list when it is asked for one. */
  private void whenAsked(Telling telling) {
    Threads.virtual(
        "guest",
        () -> {
          try {
            assertThat(guest.next().type()).isEqualTo(Frame.OPEN);
            telling.run();
          } catch (IOException e) {
            throw new UncheckedIOException(e);
          }
        });
  }

  private static String entry(int i) {
    return "{\"path\":\"/many/%06d-%s\",\"type\":\"file\",\"size\":%d,\"metadata\":{\"k\":\"v\"}}"
        .formatted(i, "é\\u00e9\\n".repeat(10), i);
  }

  /** Sends so many entries as the host lets it, in frames that end anywhere. */
  private void tellMany(AtomicLong sentBytes) throws IOException {
    long credit = Frame.INITIAL_CREDIT_BYTES;
    ByteBuffer waiting = ByteBuffer.allocate(1 << 20);
    waiting.put((byte) '[');
    for (int i = 0; i < MANY; i++) {
      waiting.put(((i == 0 ? "" : ",") + entry(i)).getBytes(StandardCharsets.UTF_8));
      if (i == MANY - 1) {
        waiting.put((byte) ']');
      }
      waiting.flip();
      while (waiting.remaining() >= 9_973 || (i == MANY - 1 && waiting.hasRemaining())) {
        byte[] piece = new byte[Math.min(9_973, waiting.remaining())];
        waiting.get(piece);
        while (credit < piece.length) {
          Frame frame = guest.next();
          assertThat(frame.type()).isEqualTo(Frame.WINDOW);
          credit += ByteBuffer.wrap(frame.payload()).order(ByteOrder.LITTLE_ENDIAN).getInt();
        }
        credit -= piece.length;
        guest.send(STREAM, Frame.DATA, Frame.CHANNEL_OUTPUT, piece);
        sentBytes.addAndGet(piece.length);
      }
      waiting.compact();
    }
    guest.end(STREAM);
  }

  /**
   * However long the list, it arrives whole and in order, and no more of it is here than its
   * receiver lets in.
   */
  @Test
  void aLongListPassesThrough() throws Exception {
    AtomicLong sentBytes = new AtomicLong();
    whenAsked(() -> tellMany(sentBytes));
    CountDownLatch goOn = new CountDownLatch(1);
    AtomicInteger count = new AtomicInteger();
    CompletableFuture<Void> list =
        CompletableFuture.runAsync(
            () ->
                agent
                    .files()
                    .tree(
                        "/many",
                        1,
                        entry -> {
                          int i = count.getAndIncrement();
                          if (i == MANY / 2) {
                            waitFor(goOn);
                          }
                          assertThat(entry.sizeBytes()).isEqualTo(i);
                          assertThat(entry.path())
                              .isEqualTo("/many/%06d-%s".formatted(i, "éé\n".repeat(10)));
                        }),
            run -> Threads.virtual("list", run));
    await().until(() -> count.get() == MANY / 2 + 1);
    Thread.sleep(300); // Until the guest may send no more; it does not matter if not.
    long half = (long) MANY / 2 * entry(MANY / 2).getBytes(StandardCharsets.UTF_8).length;
    assertThat(sentBytes.get())
        .isBetween(half - MANY, half + MANY + 2L * Frame.INITIAL_CREDIT_BYTES);
    goOn.countDown();
    list.get(50, TimeUnit.SECONDS);
    assertThat(count).hasValue(MANY);
    assertThat(sentBytes.get()).isGreaterThan(32L << 20);
    assertThat(agent.openStreams()).isZero();
  }

  private static void waitFor(CountDownLatch latch) {
    try {
      assertThat(latch.await(40, TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private List<String> paths() {
    List<String> paths = new ArrayList<>();
    agent.files().list("/many", entry -> paths.add(entry.path()));
    return paths;
  }

  /** A list may be cut into pieces anywhere, and a short one comes with the answer. */
  @Test
  void piecesEndAnywhere() throws Exception {
    whenAsked(() -> {
      String list = " [ {\"path\":\"/many/é\",\"metadata\":{\"a\":\"[{\"}} , {\"path\":\"/b\"} ] ";
      for (byte b : list.getBytes(StandardCharsets.UTF_8)) {
        guest.send(STREAM, Frame.DATA, Frame.CHANNEL_OUTPUT, new byte[] {b});
      }
      guest.end(STREAM);
    });
    assertThat(paths()).containsExactly("/many/é", "/b");
    whenAsked(() -> {
      byte[] said = "{\"entries\":[{\"path\":\"/c\"}]}".getBytes(StandardCharsets.UTF_8);
      guest.send(STREAM + 1, Frame.END, 0, said);
    });
    assertThat(paths()).containsExactly("/c");
    whenAsked(() -> {
      guest.data(STREAM + 2, "[]");
      guest.end(STREAM + 2);
    });
    assertThat(paths()).isEmpty();
  }

  /** What is no list of entries fails, and the request ends in the guest too. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "{}",
        "1",
        "[1]",
        "[[]]",
        "[{}",
        "[{}}",
        "[{}]]",
        "[{}] []",
        "[{}],",
        "[{\"path\":]",
        "\0"
      })
  void whatIsNoList(String list) {
    whenAsked(() -> {
      guest.data(STREAM, list);
      guest.end(STREAM);
    });
    assertThatThrownBy(this::paths)
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.DATA_LOSS);
              assertThat(e.message()).contains("a list");
            });
    assertThat(agent.openStreams()).isZero();
  }

  /** One entry without end is refused before it fills the memory; so is what it is nested in. */
  @ParameterizedTest
  @ValueSource(strings = {"[{\"path\":\"", "[{\"path\":\"/a\"},{\"metadata\":{\"a\":\""})
  void anEntryWithoutEnd(String begin) {
    whenAsked(() -> {
      guest.data(STREAM, begin);
      for (int i = 0; i < 25; i++) {
        guest.data(STREAM, "x".repeat(10_000));
      }
      for (Frame frame = guest.next(); frame.type() == Frame.WINDOW; frame = guest.next()) {
        guest.data(STREAM, "x".repeat(16_000));
      }
    });
    assertThatThrownBy(this::paths)
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("an entry of more than");
    await().until(() -> agent.openStreams() == 0);
  }

  /** Whoever takes the entries may stop it. */
  @Test
  void theReceiverStops() throws Exception {
    whenAsked(() -> guest.data(STREAM, "[{\"path\":\"/a\"},{\"path\":\"/b\"}"));
    List<GuestFiles.Entry> seen = new ArrayList<>();
    assertThatThrownBy(() ->
            agent
                .files()
                .list(
                    "/many",
                    entry -> {
                      seen.add(entry);
                      throw new IllegalStateException("enough");
                    }))
        .hasMessage("enough");
    assertThat(seen).extracting(GuestFiles.Entry::path).containsExactly("/a");
    assertThat(guest.next().type()).isEqualTo(Frame.CANCEL);
  }
}
