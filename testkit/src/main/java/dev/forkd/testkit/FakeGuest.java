package dev.forkd.testkit;

import dev.forkd.api.Threads;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * The agent of a guest that is not there: it begins conversations, answers requests as the real one
 * does, or as a test wants it to, and keeps a clock. It takes any token.
 */
public final class FakeGuest {
  private static final int TOKEN_BYTES = 32;
  private static final int SYNC = 1;
  private static final int OPEN = 2;
  private static final int END = 8;
  private static final int ERROR = 9;
  private static final int READY = 11;
  private static final int CLOCK = 12;
  private static final JsonMapper JSON = JsonMapper.shared();
  private static final SecureRandom RANDOM = new SecureRandom();

  /** How one operation is answered. */
  @FunctionalInterface
  public interface Answer {
    /**
     * @return empty for silence
     */
    Optional<Map<String, ?>> to(JsonNode request);
  }

  /** An answer that is an error, with the code's wire name. */
  public static Answer failing(String code, String message) {
    return _ -> Optional.of(Map.of("code", code, "message", message));
  }

  private final Map<String, Answer> answers = new ConcurrentHashMap<>();
  private final List<String> asked = new CopyOnWriteArrayList<>();
  private volatile Duration delay = Duration.ZERO;
  private final AtomicInteger delayedFrames = new AtomicInteger();
  private volatile long clockOffsetNanos = Duration.ofDays(-1).toNanos();
  private volatile boolean greets = true;
  private volatile boolean frozen;
  private final AtomicInteger clockFrames = new AtomicInteger();
  private final Set<SocketChannel> hosts = ConcurrentHashMap.newKeySet();

  public FakeGuest() {
    answers.put("epoch", request -> Optional.of(proof(request)));
    answers.put(
        "freeze",
        _ -> {
          frozen = true;
          return Optional.of(Map.of("frozen", true, "processes", 1, "micros", 1));
        });
    answers.put("thaw", _ -> thaw());
    answers.put("clock", _ -> Optional.of(Map.of("clockNanos", unixNanos() + clockOffsetNanos)));
    answers.put("exec", _ -> Optional.of(Map.of("exit", 0)));
  }

  /** Lets its user processes go, and says so. */
  public Optional<Map<String, ?>> thaw() {
    frozen = false;
    return Optional.of(Map.of());
  }

  /** From now on {@code op} is answered so. */
  public FakeGuest on(String op, Answer answer) {
    answers.put(op, answer);
    return this;
  }

  /** Its agent is that of an older template, and knows only what those know. */
  public FakeGuest old() {
    return on("clock", failing("unimplemented", "this agent has no 'clock'"));
  }

  /** It does not begin a conversation with anybody. */
  public FakeGuest deaf() {
    greets = false;
    return this;
  }

  /** Ends its conversations. */
  public void hangUp() {
    for (SocketChannel host : hosts) {
      try {
        host.close();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  /**
   * The next {@code frames} frames reach it only after {@code late}, as on a machine that stalls.
   */
  public FakeGuest stalled(Duration late, int frames) {
    delay = late;
    delayedFrames.set(frames);
    return this;
  }

  /** How often its clock was set, but for the handshake. */
  public int clockFrames() {
    return clockFrames.get();
  }

  /** What it was asked, in order. */
  public List<String> asked() {
    return List.copyOf(asked);
  }

  /** Whether its user processes are frozen. */
  public boolean frozen() {
    return frozen;
  }

  /** By how much its clock is ahead of the host's. */
  public Duration clockOffset() {
    return Duration.ofNanos(clockOffsetNanos);
  }

  private static long unixNanos() {
    Instant now = Instant.now();
    return now.getEpochSecond() * 1_000_000_000L + now.getNano();
  }

  /** What a child that is as it should be proves. */
  public Map<String, Object> proof(JsonNode request) {
    setClock(request.path("timeNanos").asLong());
    byte[] random = new byte[32];
    RANDOM.nextBytes(random);
    return Map.of(
        "epoch", request.path("epoch").asLong(),
        "random", HexFormat.of().formatHex(random),
        "clockNanos", unixNanos() + clockOffsetNanos,
        "hostname", request.path("hostname").asString(),
        "machineId", request.path("machineId").asString(),
        "reseeded", true);
  }

  private void setClock(long nanos) {
    clockOffsetNanos = nanos - unixNanos();
  }

  /** Takes every connection to its socket; ends with the socket. */
  void serve(ServerSocketChannel server) {
    Threads.virtual(
        "fake-guest",
        () -> {
          try {
            while (true) {
              SocketChannel host = server.accept();
              Threads.virtual("fake-guest-host", () -> converse(host));
            }
          } catch (IOException e) {
            // The VM has ended.
            return;
          }
        });
  }

  private void converse(SocketChannel host) {
    try (host;
        DataInputStream in = new DataInputStream(Channels.newInputStream(host))) {
      hosts.add(host);
      in.readFully(new byte[TOKEN_BYTES]);
      while (true) {
        ByteBuffer header = ByteBuffer.wrap(in.readNBytes(8)).order(ByteOrder.LITTLE_ENDIAN);
        if (header.remaining() < 8) {
          throw new EOFException();
        }
        int stream = header.getInt();
        byte[] payload = in.readNBytes(Short.toUnsignedInt(header.getShort()));
        int type = header.get();
        stall();
        switch (type) {
          case SYNC -> {
            if (greets) {
              write(host, ByteBuffer.wrap(payload));
              write(host, frame(0, READY, Map.of("evaluator", "none")));
            }
          }
          case CLOCK -> {
            setClock(ByteBuffer.wrap(payload).order(ByteOrder.LITTLE_ENDIAN).getLong());
            clockFrames.incrementAndGet();
          }
          case OPEN -> answer(host, stream, JSON.readTree(payload));
          default -> {}
        }
      }
    } catch (IOException e) {
      // The host has let go, or the VM has ended.
      return;
    } finally {
      hosts.remove(host);
    }
  }

  private void stall() throws IOException {
    if (delayedFrames.getAndUpdate(left -> Math.max(0, left - 1)) > 0) {
      try {
        Thread.sleep(delay);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IOException("interrupted", e);
      }
    }
  }

  private void answer(SocketChannel host, int stream, JsonNode request) throws IOException {
    String op = request.path("op").asString();
    asked.add(op);
    Optional<Map<String, ?>> said =
        answers.getOrDefault(op, _ -> Optional.of(Map.of())).to(request);
    if (said.isPresent()) {
      Map<String, Object> result = new HashMap<>(said.get());
      result.putIfAbsent("idle", true);
      write(host, frame(stream, said.get().containsKey("code") ? ERROR : END, result));
    }
  }

  private static ByteBuffer frame(int stream, int type, Map<String, ?> said) {
    byte[] json = JSON.writeValueAsBytes(said);
    return ByteBuffer.allocate(8 + json.length)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putInt(stream)
        .putShort((short) json.length)
        .put((byte) type)
        .put((byte) 0)
        .put(json)
        .flip();
  }

  private static void write(SocketChannel host, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      host.write(bytes);
    }
  }
}
