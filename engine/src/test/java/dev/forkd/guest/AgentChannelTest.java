package dev.forkd.guest;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.ProcessRef;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The host's side against guests that do as they like; the test is the guest. */
class AgentChannelTest {
  /** For what must happen, however busy the machine is. */
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  @TempDir Path folder;

  private final List<ForkdException> lost = new CopyOnWriteArrayList<>();
  private SocketChannel host;
  private SocketChannel guest;

  private final AgentEvents events =
      new AgentEvents() {
        @Override
        public void changed() {}

        @Override
        public void lost(ForkdException why) {
          lost.add(why);
        }
      };

  @BeforeEach
  void connect() throws IOException {
    UnixDomainSocketAddress address = UnixDomainSocketAddress.of(folder.resolve("agent"));
    try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      server.bind(address);
      host = SocketChannel.open(address);
      guest = server.accept();
    }
  }

  @AfterEach
  void close() throws IOException {
    host.close();
    guest.close();
  }

  private static boolean isUnavailable(Throwable e) {
    return e instanceof ForkdException known && known.code() == ErrorCode.UNAVAILABLE;
  }

  /** Answers the sync, as an agent does. */
  private void greet() throws IOException {
    ByteBuffer said = ByteBuffer.allocate(AgentChannel.TOKEN_BYTES + Frame.HEADER_BYTES + 32);
    while (said.hasRemaining()) {
      assertThat(guest.read(said)).isPositive();
    }
    send(said.array(), said.capacity() - 32, 32);
  }

  private void send(byte[] bytes, int from, int count) throws IOException {
    ByteBuffer out = ByteBuffer.wrap(bytes, from, count);
    while (out.hasRemaining()) {
      guest.write(out);
    }
  }

  private void send(int stream, int type, int flags, byte[] payload) throws IOException {
    byte[] frame =
        ByteBuffer.allocate(Frame.HEADER_BYTES + payload.length)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putInt(stream)
            .putShort((short) payload.length)
            .put((byte) type)
            .put((byte) flags)
            .put(payload)
            .array();
    send(frame, 0, frame.length);
  }

  /** Takes what the host sends and forgets it. */
  private void swallow() {
    Threads.virtual(
        "swallow",
        () -> {
          ByteBuffer buffer = ByteBuffer.allocate(65536);
          try {
            int count = 0;
            while (count >= 0) {
              count = guest.read(buffer.clear());
            }
          } catch (IOException e) {
            return;
          }
        });
  }

  /** However many ask at once, the guest never sees one stream too many. */
  @Test
  void noMoreStreamsAreOpenThanTheGuestTakes() throws Exception {
    AgentChannel channel = new AgentChannel("sbtest", host, events);
    channel.beginSync(new byte[AgentChannel.TOKEN_BYTES]);
    greet();
    swallow();
    AtomicInteger opened = new AtomicInteger();
    CountDownLatch refused = new CountDownLatch(144);
    for (int i = 0; i < 400; i++) {
      Threads.virtual(
          "open",
          () -> {
            try {
              channel.open(Map.of("op", "status"));
              opened.incrementAndGet();
            } catch (ForkdException e) {
              assertThat(e.code()).isEqualTo(ErrorCode.RESOURCE_EXHAUSTED);
              refused.countDown();
            }
          });
    }
    await().atMost(PATIENCE).until(() -> opened.get() + 144 - refused.getCount() >= 400);
    assertThat(opened).hasValueLessThanOrEqualTo(256);
    assertThat(channel.openStreams()).isEqualTo(opened.get());
    channel.close();
  }

  /** Snapshots outlive the agent they were made with: what it says of itself decides. */
  @Test
  void anAgentOfAnotherProtocolIsRefusedByNameAndAnOlderOneOfTheSameIsNot() throws Exception {
    AgentChannel channel = new AgentChannel("sbtest", host, events);
    channel.beginSync(new byte[AgentChannel.TOKEN_BYTES]);
    greet();
    swallow();
    send(0, Frame.READY, 0, ready("\"agent\":\"0.9.0\""));
    assertThat(channel.awaitReady(PATIENCE).path("agent").asString("")).isEqualTo("0.9.0");
    var asked = channel.open(Map.of("op", "epoch"));
    send(0, Frame.READY, 0, ready("\"protocol\":2"));
    await().atMost(PATIENCE).until(() -> lost.size() == 1);
    assertThat(lost.getFirst().code()).isEqualTo(ErrorCode.FAILED_PRECONDITION);
    assertThat(lost.getFirst().message()).contains("protocol 2", "speaks 1", "--replace");
    assertThat(asked.next(PATIENCE))
        .get()
        .isInstanceOfSatisfying(
            AgentStream.Item.Failed.class,
            failed -> assertThat(failed.why().code()).isEqualTo(ErrorCode.FAILED_PRECONDITION));
  }

  private static byte[] ready(String member) {
    return ("{" + member + ",\"evaluator\":\"none\"}").getBytes(StandardCharsets.UTF_8);
  }

  /** A request the agent would take for nonsense is refused here, and the conversation goes on. */
  @Test
  void aRequestThatIsTooLargeIsNotSent() throws Exception {
    AgentChannel channel = new AgentChannel("sbtest", host, events);
    channel.beginSync(new byte[AgentChannel.TOKEN_BYTES]);
    greet();
    assertThatThrownBy(
            () -> channel.open(Map.of("op", "exec", "args", List.of("x".repeat(4 << 20)))))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("takes at most");
    assertThat(channel.openStreams()).isZero();
    channel.close();
    assertThat(lost).isEmpty();
  }

  /** A guest that keeps a request open with data nobody asked for does so for its time only. */
  @Test
  void aGuestThatNeverEndsARequestIsLeft() throws Exception {
    try (GuestAgent agent = GuestAgent.attach("sbtest", host, events)) {
      agent.beginSync(new byte[AgentChannel.TOKEN_BYTES]);
      greet();
      swallow();
      Threads.virtual(
          "trickle",
          () -> {
            try {
              while (true) {
                send(1, Frame.DATA, Frame.CHANNEL_OUTPUT, new byte[1]);
                Thread.sleep(20);
              }
            } catch (IOException | InterruptedException e) {
              return;
            }
          });
      long begin = System.nanoTime();
      assertThatThrownBy(() -> agent.freeze(Duration.ofMillis(500)))
          .isInstanceOf(ForkdException.class)
          .hasMessageContaining("did not answer 'freeze'");
      assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(PATIENCE);
      assertThat(agent.openStreams()).isZero();
    }
  }

  /** A guest that reads nothing any more ends the request that waits for it. */
  @Test
  void aGuestThatTakesNothingIsGivenUp() throws Exception {
    AgentChannel channel = new AgentChannel("sbtest", host, events, Duration.ofMillis(500));
    channel.beginSync(new byte[AgentChannel.TOKEN_BYTES]);
    greet();
    assertThatThrownBy(
            () -> channel.open(Map.of("op", "exec", "args", List.of("x".repeat(3 << 20)))))
        .matches(AgentChannelTest::isUnavailable);
    assertThat(channel.openStreams()).isZero();
    await().atMost(PATIENCE).until(() -> lost.size() == 1);
    assertThatThrownBy(() -> channel.open(Map.of("op", "status")))
        .hasMessageContaining("takes no requests any more");
  }

  private GuestAgent agent() throws IOException {
    GuestAgent agent = GuestAgent.attach("sbtest", host, events);
    agent.beginSync(new byte[AgentChannel.TOKEN_BYTES]);
    greet();
    swallow();
    return agent;
  }

  private void say(int type, String json) throws IOException {
    send(type == Frame.READY ? 0 : 1, type, 0, json.getBytes(StandardCharsets.UTF_8));
  }

  /** A guest that says so takes more streams; whatever it says, there is an end to them. */
  @Test
  void aGuestTellsHowManyStreamsItTakes() throws Exception {
    AgentChannel channel = new AgentChannel("sbtest", host, events);
    channel.beginSync(new byte[AgentChannel.TOKEN_BYTES]);
    greet();
    swallow();
    say(Frame.READY, "{\"streams\":1000000}");
    var _ = channel.awaitReady(PATIENCE);
    for (int i = 0; i < 1024; i++) {
      channel.open(Map.of("op", "status"));
    }
    assertThatThrownBy(() -> channel.open(Map.of("op", "status")))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("1024 requests open");
    channel.close();
  }

  /** Input that a process does not read ends at once when its writer is told to give up. */
  @Test
  void inputIsGivenUp() throws Exception {
    try (GuestAgent agent = agent()) {
      AgentInput input = new AgentInput(new ProcessRef.Pid(7));
      CompletableFuture<Void> written =
          CompletableFuture.runAsync(
              () -> agent.processes().write(input, new byte[1 << 20]),
              run -> Threads.virtual("writer", run));
      await().atMost(PATIENCE).until(() -> agent.openStreams() == 1);
      Thread.sleep(200); // Until all that the guest lets in is sent; it does not matter if not.
      input.close();
      assertThatThrownBy(() -> written.get(60, TimeUnit.SECONDS))
          .hasCauseInstanceOf(ForkdException.class)
          .hasMessageContaining("given up");
      assertThat(agent.openStreams()).isZero();
      assertThatThrownBy(() -> agent.processes().write(input, new byte[1]))
          .hasMessageContaining("given up");
      assertThat(agent.openStreams()).isZero();
    }
  }

  /** However a client breaks off, its file's stream ends in the guest too, which is idle then. */
  @Test
  void aTransferThatFailsHereEndsThere() throws Exception {
    try (GuestAgent agent = agent()) {
      InputStream source =
          new InputStream() {
            @Override
            public int read() {
              throw new IllegalStateException("cut");
            }

            @Override
            public int read(byte[] into, int offset, int length) {
              throw new IllegalStateException("cut");
            }
          };
      assertThatThrownBy(
              () -> agent.files().write("/x", source, OptionalInt.empty(), Optional.empty()))
          .hasMessage("cut");
      assertThat(agent.openStreams()).isZero();
    }
  }

  /** The same, the other way. */
  @Test
  void aReceiverThatFailsEndsTheTransfer() throws Exception {
    try (GuestAgent agent = agent()) {
      OutputStream sink =
          new OutputStream() {
            @Override
            public void write(int b) {
              throw new IllegalStateException("cut");
            }
          };
      Threads.virtual("guest", () -> dataWhenAsked(agent));
      assertThatThrownBy(() -> agent.files().read("/x", sink)).hasMessage("cut");
      assertThat(agent.openStreams()).isZero();
    }
  }

  private void dataWhenAsked(GuestAgent agent) {
    await().atMost(PATIENCE).until(() -> agent.openStreams() == 1);
    try {
      send(1, Frame.DATA, Frame.CHANNEL_OUTPUT, new byte[100]);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
