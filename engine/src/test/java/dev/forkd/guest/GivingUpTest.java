package dev.forkd.guest;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.ProcessListener;
import dev.forkd.engine.ProcessSpec;
import dev.forkd.engine.ProcessStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Whoever gives a request up is done with it, whatever the guest does. */
@Timeout(value = 1, unit = TimeUnit.MINUTES)
class GivingUpTest {
  private static final Map<String, String> REQUEST = Map.of("op", "status");

  @TempDir Path folder;
  private TestGuest guest;

  @BeforeEach
  void connect() throws IOException {
    guest = new TestGuest(folder);
  }

  @AfterEach
  void close() throws IOException {
    guest.close();
  }

  private static void assertHeard(AgentStream stream) {
    assertThat(stream.next(Duration.ofSeconds(10)))
        .get()
        .isInstanceOfSatisfying(
            AgentStream.Item.Failed.class,
            failed -> {
              assertThat(failed.why().code()).isEqualTo(ErrorCode.CANCELLED);
              assertThat(failed.why().message()).isEqualTo("as a test wants it");
            });
  }

  private static void giveUp(AgentChannel channel, AgentStream stream) {
    channel.cancel(stream, "as a test wants it");
  }

  /** A guest that cannot be told any more: whoever waits hears, whoever gave up goes on. */
  @Test
  void theGuestCannotBeTold() throws Exception {
    try (AgentChannel channel = guest.channel()) {
      AgentStream stream = channel.open(REQUEST);
      guest.takesNothing();
      giveUp(channel, stream);
      assertHeard(stream);
      assertThat(channel.openStreams()).isZero();
    }
  }

  /** The same while another write waits for a guest that reads nothing; it is told later. */
  @Test
  void theGuestReadsNothing() throws Exception {
    try (AgentChannel channel = guest.channel()) {
      AgentStream stream = channel.open(REQUEST);
      assertThat(guest.next().type()).isEqualTo(Frame.OPEN);
      CompletableFuture<Void> large =
          CompletableFuture.runAsync(
              () -> channel.open(Map.of("op", "exec", "args", List.of("x".repeat(3 << 20)))),
              run -> Threads.virtual("large", run));
      await().until(() -> channel.openStreams() == 2);
      Thread.sleep(300); // Until it fills the socket; it does not matter if not.
      long begin = System.nanoTime();
      giveUp(channel, stream);
      assertHeard(stream);
      assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(Duration.ofSeconds(10));
      assertThat(large).isNotDone();
      Frame frame = guest.next();
      while (frame.type() == Frame.OPEN) {
        frame = guest.next();
      }
      assertThat(frame.type()).isEqualTo(Frame.CANCEL);
      assertThat(frame.stream()).isEqualTo(stream.id());
      large.get(10, TimeUnit.SECONDS);
    }
  }

  /**
   * With as many open as the guest takes, one takes the place of another only after the guest was
   * told of that, though it was given up by a thread that must send nothing.
   */
  @Test
  void oneTakesAnothersPlace() throws Exception {
    try (AgentChannel channel = guest.channel()) {
      List<AgentStream> open = new ArrayList<>();
      for (int i = 0; i < 256; i++) {
        open.add(channel.open(REQUEST));
        assertThat(guest.next().type()).isEqualTo(Frame.OPEN);
      }
      for (int i = 0; i < 100; i++) {
        AgentStream old = open.get(i);
        Threads.virtual(
                "interrupted",
                () -> {
                  Thread.currentThread().interrupt();
                  giveUp(channel, old);
                })
            .join();
        AgentStream next = channel.open(REQUEST);
        Frame told = guest.next();
        assertThat(told.type()).as("round %d", i).isEqualTo(Frame.CANCEL);
        assertThat(told.stream()).isEqualTo(old.id());
        Frame opened = guest.next();
        assertThat(opened.type()).isEqualTo(Frame.OPEN);
        assertThat(opened.stream()).isEqualTo(next.id());
      }
      assertThat(channel.openStreams()).isEqualTo(256);
    }
  }

  /** Whoever waits for an answer and is interrupted leaves nothing behind in the guest. */
  @Test
  void whoWaitsIsInterrupted() throws Exception {
    try (AgentChannel channel = guest.channel()) {
      AgentStream stream = channel.open(REQUEST);
      assertThat(guest.next().type()).isEqualTo(Frame.OPEN);
      CompletableFuture<ErrorCode> code = new CompletableFuture<>();
      Thread waits =
          Threads.virtual(
              "waits",
              () -> {
                try {
                  var _ = stream.next(Duration.ofMinutes(1));
                } catch (ForkdException e) {
                  code.complete(e.code());
                }
              });
      Thread.sleep(100); // Mostly until it waits; it does not matter if not.
      waits.interrupt();
      assertThat(code.get(10, TimeUnit.SECONDS)).isEqualTo(ErrorCode.CANCELLED);
      assertThat(guest.next().type()).isEqualTo(Frame.CANCEL);
    }
  }

  /** What it still writes while somebody gives it up does not make it end: the guest is told. */
  @Test
  void itStillWrites() throws Exception {
    try (AgentChannel channel = guest.channel()) {
      AgentStream stream = channel.open(REQUEST);
      assertThat(guest.next().type()).isEqualTo(Frame.OPEN);
      stream.fail(new ForkdException(ErrorCode.CANCELLED, "as a test wants it"));
      guest.data(stream.id(), "more");
      AgentStream other = channel.open(REQUEST);
      assertThat(guest.next().type()).isEqualTo(Frame.OPEN);
      guest.end(other.id());
      assertThat(other.next(Duration.ofSeconds(10))).isPresent();
      giveUp(channel, stream);
      Frame told = guest.next();
      assertThat(told.type()).isEqualTo(Frame.CANCEL);
      assertThat(told.stream()).isEqualTo(stream.id());
    }
  }

  /** A result of too many parts is refused to who asked, and to nobody else. */
  @Test
  void aResultOfTooManyParts() throws Exception {
    try (AgentChannel channel = guest.channel()) {
      AgentStream stream = channel.open(REQUEST);
      assertThat(guest.next().type()).isEqualTo(Frame.OPEN);
      byte[] piece = "{},".repeat(5_000).getBytes(StandardCharsets.UTF_8);
      guest.send(stream.id(), Frame.END, Frame.MORE, new byte[] {'['});
      for (int i = 0; i < 24; i++) {
        guest.send(stream.id(), Frame.END, Frame.MORE, piece);
      }
      guest.send(stream.id(), Frame.END, 0, new byte[] {'1', ']'});
      assertThat(stream.next(Duration.ofSeconds(10)))
          .get()
          .isInstanceOfSatisfying(
              AgentStream.Item.Failed.class,
              failed -> assertThat(failed.why().code()).isEqualTo(ErrorCode.RESOURCE_EXHAUSTED));
      AgentStream other = channel.open(REQUEST);
      assertThat(guest.next().type()).isEqualTo(Frame.OPEN);
      guest.end(other.id());
      assertThat(other.next(Duration.ofSeconds(10)))
          .get()
          .isInstanceOf(AgentStream.Item.Ended.class);
    }
  }

  /** One that the guest has ended is not given up as well. */
  @Test
  void whatHasEndedIsLeftAlone() throws Exception {
    try (AgentChannel channel = guest.channel()) {
      for (int i = 0; i < 100; i++) {
        AgentStream stream = channel.open(REQUEST);
        assertThat(guest.next().type()).as("round %d", i).isEqualTo(Frame.OPEN);
        guest.end(stream.id());
        assertThat(stream.next(Duration.ofSeconds(10)))
            .get()
            .isInstanceOf(AgentStream.Item.Ended.class);
        giveUp(channel, stream);
      }
    }
  }

  /** Listening to a process ends, and what it held is let go, when the guest cannot be told. */
  @Test
  void listeningEnds() throws Exception {
    try (GuestAgent agent = guest.agent()) {
      CountDownLatch ended = new CountDownLatch(1);
      ProcessStream stream =
          agent
              .processes()
              .start(
                  new ProcessSpec(
                      List.of("sleep", "600"),
                      Map.of(),
                      Optional.empty(),
                      Optional.empty(),
                      Optional.empty(),
                      false,
                      Optional.empty(),
                      Optional.empty()),
                  new ProcessListener() {
                    @Override
                    public void started(int pid) {}

                    @Override
                    public void stdout(byte[] chunk) {}

                    @Override
                    public void stderr(byte[] chunk) {}

                    @Override
                    public void terminal(byte[] chunk) {}
                  },
                  ended::countDown);
      guest.takesNothing();
      stream.close();
      assertThat(ended.await(10, TimeUnit.SECONDS)).isTrue();
    }
  }
}
