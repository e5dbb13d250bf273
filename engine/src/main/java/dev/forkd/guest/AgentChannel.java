package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SocketChannel;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantLock;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * The byte stream to one guest agent: one reader, many streams. A guest that sends nonsense loses
 * the connection, nothing more.
 */
final class AgentChannel implements AutoCloseable {
  /** Open at once at most. Agents of older templates take fewer, and do not say how many. */
  private static final int MAX_STREAMS = 1024;

  private static final int MAX_STREAMS_UNTOLD = 256;

  /** What the agent takes for one request; one byte more ends the conversation. */
  private static final int MAX_REQUEST_BYTES = 4 << 20;

  /** Behind a write that the guest does not take, others wait this long. */
  private static final Duration WRITE_TIMEOUT = Duration.ofSeconds(30);

  /** A guest that is not paused and has not taken a write for so long never will. */
  static final Duration STUCK_TIMEOUT = Duration.ofMinutes(5);

  /** The version in guest/PROTOCOL.md. */
  static final int PROTOCOL = 1;

  static final int TOKEN_BYTES = 32;
  private static final int NONCE_BYTES = 32;
  private static final System.Logger LOG = System.getLogger(AgentChannel.class.getName());
  private static final JsonMapper JSON = JsonMapper.shared();
  private static final SecureRandom RANDOM = new SecureRandom();

  private final SocketChannel socket;
  private final AgentEvents events;
  private final String who;
  private final Duration stuckTimeout;
  private final Map<Integer, AgentStream> streams = new ConcurrentHashMap<>();
  private final AtomicInteger nextStream = new AtomicInteger();
  private final ReentrantLock writing = new ReentrantLock();

  /** Streams that were given up, which the guest is still to hear: before all that is sent next. */
  private final Queue<Integer> givenUp = new ConcurrentLinkedQueue<>();

  private final CompletableFuture<JsonNode> ready = new CompletableFuture<>();
  private final CompletableFuture<Boolean> synced = new CompletableFuture<>();
  private volatile Optional<NonceFilter> filter = Optional.empty();
  private volatile Optional<ForkdException> lost = Optional.empty();
  private volatile int maxStreams = MAX_STREAMS_UNTOLD;
  private volatile boolean idle;

  /** Highest number of a stream that was answered; written by the reader alone. */
  private volatile int lastAnswered;

  private volatile boolean closing;
  private final AtomicBoolean over = new AtomicBoolean();

  AgentChannel(String who, SocketChannel socket, AgentEvents events) {
    this(who, socket, events, STUCK_TIMEOUT);
  }

  AgentChannel(String who, SocketChannel socket, AgentEvents events, Duration stuckTimeout) {
    this.who = who;
    this.stuckTimeout = stuckTimeout;
    this.socket = socket;
    this.events = events;
  }

  /**
   * Sends what makes the agent drop its former conversation and begin one with us; it may be sent
   * before the guest runs.
   */
  void beginSync(byte[] token) {
    if (token.length != TOKEN_BYTES) {
      throw new IllegalArgumentException("token of " + token.length + " bytes");
    }
    byte[] nonce = new byte[NONCE_BYTES];
    RANDOM.nextBytes(nonce);
    boolean first = filter.isEmpty();
    filter = Optional.of(new NonceFilter(nonce));
    ByteBuffer bytes =
        ByteBuffer.allocate(TOKEN_BYTES + Frame.HEADER_BYTES + NONCE_BYTES)
            .order(ByteOrder.LITTLE_ENDIAN);
    bytes.put(token);
    put(bytes, new Frame(0, Frame.SYNC, 0, nonce));
    if (first) {
      Thread.ofVirtual().name("agent-" + who).start(this::readLoop);
    }
    write(bytes.flip());
  }

  /** Waits until the agent has answered the sync. */
  void awaitSync(Duration timeout) {
    await(synced, timeout, "the guest agent did not answer");
  }

  /** Waits until the agent says that the guest is ready; returns what it says. */
  JsonNode awaitReady(Duration timeout) {
    return await(ready, timeout, "the guest did not become ready");
  }

  private <T> T await(CompletableFuture<T> future, Duration timeout, String what) {
    try {
      return future.get(timeout.toMillis(), TimeUnit.MILLISECONDS);
    } catch (ExecutionException e) {
      throw e.getCause() instanceof ForkdException known
          ? known
          : new ForkdException(ErrorCode.INTERNAL, what, e.getCause());
    } catch (TimeoutException e) {
      throw new ForkdException(
          ErrorCode.DEADLINE_EXCEEDED,
          what + " within " + timeout.toMillis() + " ms (" + who + ")",
          e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted: " + what, e);
    }
  }

  private void readLoop() {
    FrameDecoder decoder = new FrameDecoder();
    ByteBuffer buffer = ByteBuffer.allocate(64 << 10);
    try {
      while (socket.read(buffer.clear()) >= 0) {
        buffer.flip();
        if (!synced.isDone()) {
          if (!filter.orElseThrow().passed(buffer)) {
            continue;
          }
          synced.complete(true);
        }
        List<Frame> frames = decoder.feed(buffer);
        frames.forEach(this::dispatch);
      }
      fail(new ForkdException(ErrorCode.UNAVAILABLE, "the VMM closed the agent's channel"));
    } catch (IOException e) {
      fail(new ForkdException(ErrorCode.UNAVAILABLE, "agent channel: " + e.getMessage(), e));
    } catch (ForkdException e) {
      fail(e);
    }
  }

  private void dispatch(Frame frame) {
    if (frame.stream() != 0) {
      AgentStream stream = streams.get(frame.stream());
      if (stream != null && frame.stream() > lastAnswered) {
        lastAnswered = frame.stream();
      }
      // Frames of a stream that was cancelled may still be on the way.
      if (stream != null && stream.arrived(frame)) {
        streams.remove(frame.stream());
        events.changed();
      }
      return;
    }
    switch (frame.type()) {
      case Frame.IDLE -> {
        idle = frame.payload().length == 1 && frame.payload()[0] == 1;
        events.changed();
      }
      case Frame.READY -> {
        JsonNode said = GuestJson.read(frame.payload(), "a READY");
        requireKnown(said.path("protocol").asInt(PROTOCOL));
        maxStreams = Math.clamp(said.path("streams").asInt(MAX_STREAMS_UNTOLD), 1, MAX_STREAMS);
        ready.complete(said);
      }
      default -> throw FrameDecoder.broken("a frame of type " + frame.type() + " on stream 0");
    }
  }

  /** A guest keeps the agent that its template was made with. */
  private void requireKnown(int protocol) {
    if (protocol != PROTOCOL) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "the guest of "
              + who
              + " has an agent of protocol "
              + protocol
              + ", this daemon speaks "
              + PROTOCOL
              + ": make the template again (forkd template build --replace)");
    }
  }

  void heardIdle(JsonNode result) {
    JsonNode said = result.path("idle");
    if (said.isBoolean()) {
      idle = said.asBoolean();
    }
  }

  /** Whether the agent last said that nothing of the user's runs. */
  boolean idle() {
    return idle;
  }

  int lastOpened() {
    return nextStream.get();
  }

  int lastAnswered() {
    return lastAnswered;
  }

  boolean lost() {
    return lost.isPresent();
  }

  int openStreams() {
    return streams.size();
  }

  /** Opens a stream with a request. */
  AgentStream open(Map<String, ?> request) {
    byte[] json = JSON.writeValueAsBytes(request);
    if (json.length > MAX_REQUEST_BYTES) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "a request of " + json.length + " bytes; a guest takes at most " + MAX_REQUEST_BYTES);
    }
    AgentStream stream = new AgentStream(this, nextStream.incrementAndGet());
    // Counted with itself in, so that of several at once none comes in as one too many: the agent
    // would end the conversation.
    streams.put(stream.id(), stream);
    try {
      // Asked when it is in there: who is lost later ends it with the others.
      lost.ifPresent(why -> {
        throw new ForkdException(why.code(), why.message(), why);
      });
      int most = maxStreams;
      if (streams.size() > most) {
        throw new ForkdException(
            ErrorCode.RESOURCE_EXHAUSTED,
            "sandbox " + who + " has " + most + " requests open; wait for one to end");
      }
      write(opening(stream.id(), json));
    } catch (ForkdException e) {
      streams.remove(stream.id());
      throw e;
    }
    return stream;
  }

  private static ByteBuffer opening(int stream, byte[] json) {
    int frames = Math.max(1, Math.ceilDiv(json.length, Frame.MAX_PAYLOAD_BYTES));
    ByteBuffer bytes =
        ByteBuffer.allocate(json.length + frames * Frame.HEADER_BYTES)
            .order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < frames; i++) {
      int from = i * Frame.MAX_PAYLOAD_BYTES;
      int to = Math.min(json.length, from + Frame.MAX_PAYLOAD_BYTES);
      put(
          bytes,
          new Frame(
              stream,
              Frame.OPEN,
              i < frames - 1 ? Frame.MORE : 0,
              java.util.Arrays.copyOfRange(json, from, to)));
    }
    return bytes.flip();
  }

  /**
   * Gives a stream up, unless it has ended: whoever waits for it hears {@code why}, and what it
   * runs in the guest is killed. It neither waits nor fails: a guest that takes nothing now is told
   * before anything else.
   */
  void cancel(AgentStream stream, String why) {
    if (stream.ended()) {
      return;
    }
    stream.fail(new ForkdException(ErrorCode.CANCELLED, why));
    if (!streams.containsKey(stream.id())) {
      return;
    }
    // Noted while it is still counted: whoever opens one in its place sends this first.
    givenUp.add(stream.id());
    streams.remove(stream.id());
    events.changed();
    Threads.virtual("cancel-" + who, this::tellGivenUp);
  }

  private void tellGivenUp() {
    try {
      write(ByteBuffer.allocate(0));
    } catch (ForkdException e) {
      // Whoever writes next tells it; when nobody can any more, the guest has other troubles.
      LOG.log(System.Logger.Level.DEBUG, "giving up a request: {0}", e.message());
    }
  }

  void sendWindow(int stream, int channel, int credit) {
    byte[] payload = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(credit).array();
    send(new Frame(stream, Frame.WINDOW, channel, payload));
  }

  void send(Frame frame) {
    write(bytes(frame));
  }

  private static ByteBuffer bytes(Frame frame) {
    ByteBuffer bytes =
        ByteBuffer.allocate(Frame.HEADER_BYTES + frame.payload().length)
            .order(ByteOrder.LITTLE_ENDIAN);
    put(bytes, frame);
    return bytes.flip();
  }

  private static void put(ByteBuffer into, Frame frame) {
    into.putInt(frame.stream())
        .putShort((short) frame.payload().length)
        .put((byte) frame.type())
        .put((byte) frame.flags())
        .put(frame.payload());
  }

  private void write(ByteBuffer bytes) {
    try {
      if (!writing.tryLock(WRITE_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)) {
        throw new ForkdException(
            ErrorCode.UNAVAILABLE,
            "the guest of " + who + " has read nothing for " + WRITE_TIMEOUT.toSeconds() + " s");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while sending to " + who, e);
    }
    // A write to a socket knows no time limit; it ends when the socket is closed.
    CompletableFuture<Void> written = new CompletableFuture<>();
    try {
      var _ =
          written
              .orTimeout(stuckTimeout.toMillis(), TimeUnit.MILLISECONDS)
              .exceptionally(_ -> {
                fail(
                    new ForkdException(
                        ErrorCode.UNAVAILABLE,
                        "the guest of " + who + " takes no requests any more"));
                return null;
              });
      writeGivenUp();
      writeAll(bytes);
      // Those who meanwhile waited in vain to tell.
      writeGivenUp();
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE,
          "the agent of " + who + " cannot be reached: " + e.getMessage(),
          e);
    } finally {
      written.complete(null);
      writing.unlock();
    }
  }

  private void writeGivenUp() throws IOException {
    while (!givenUp.isEmpty()) {
      writeAll(bytes(new Frame(givenUp.remove(), Frame.CANCEL, 0, new byte[0])));
    }
  }

  private void writeAll(ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      socket.write(bytes);
    }
  }

  /** The first reason is the one; closing the socket brings others. */
  private void fail(ForkdException why) {
    if (!over.compareAndSet(false, true)) {
      return;
    }
    lost = Optional.of(why);
    synced.completeExceptionally(why);
    ready.completeExceptionally(why);
    streams.values().forEach(stream -> stream.fail(why));
    streams.clear();
    if (!closing) {
      events.lost(why);
    }
    try {
      socket.close();
    } catch (IOException e) {
      why.addSuppressed(e);
    }
  }

  @Override
  public void close() {
    closing = true;
    fail(new ForkdException(ErrorCode.UNAVAILABLE, "sandbox " + who + " was let go"));
  }
}
