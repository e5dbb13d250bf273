package dev.forkd.vmm.qemu;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * QEMU's control protocol over a Unix socket: JSON objects, one per line. Replies are matched by
 * id, so several commands can be on the way at once; QEMU runs them in order.
 *
 * <p>One virtual thread reads; any thread may send. When the socket ends, everything waiting fails
 * with UNAVAILABLE.
 *
 * @see <a href="https://www.qemu.org/docs/master/interop/qmp-spec.html">QMP specification</a>
 */
final class QmpClient implements AutoCloseable {
  /** Longer lines than this are not QMP; replies we ask for are far smaller. */
  static final int MAX_LINE_BYTES = 4 << 20;

  static final Duration COMMAND_TIMEOUT = Duration.ofSeconds(30);

  private static final JsonMapper JSON = JsonMapper.shared();
  private static final String CLOSED_BY_US = "closed by forkd";

  /** A command and its arguments. */
  record Command(String execute, Map<String, ?> arguments) {
    static Command of(String execute) {
      return new Command(execute, Map.of());
    }

    static Command of(String execute, Map<String, ?> arguments) {
      return new Command(execute, arguments);
    }

    /**
     * As short as can be: QEMU takes a monitor's input byte by byte, some 4 µs each, and commands
     * are sent while a guest stands still.
     */
    String json(long id) {
      Map<String, Object> message = new LinkedHashMap<>();
      message.put("execute", execute);
      if (!arguments.isEmpty()) {
        message.put("arguments", arguments);
      }
      message.put("id", id);
      return JSON.writeValueAsString(message);
    }
  }

  /** What became of one command. */
  sealed interface Reply {
    record Returned(JsonNode value) implements Reply {}

    record Refused(ForkdException error) implements Reply {}
  }

  private final String who;
  private final SocketChannel socket;
  private final Consumer<JsonNode> events;
  private final AtomicLong nextId = new AtomicLong();
  private final ConcurrentHashMap<Long, CompletableFuture<JsonNode>> waiting =
      new ConcurrentHashMap<>();
  private final CompletableFuture<JsonNode> greeting = new CompletableFuture<>();
  private final CompletableFuture<String> closed = new CompletableFuture<>();
  private final ReentrantLock writing = new ReentrantLock();

  /**
   * @param who names the VM in errors
   * @param events hears asynchronous events on the reader's thread and must not block
   */
  QmpClient(String who, SocketChannel socket, Consumer<JsonNode> events) {
    this.who = who;
    this.socket = socket;
    this.events = events;
    Thread.ofVirtual().name("qmp-" + who).start(this::readLoop);
  }

  /** Waits for the greeting and leaves negotiation mode; returns the version QEMU reports. */
  String negotiate(Duration timeout) {
    JsonNode hello = await("greeting", greeting, timeout);
    call(Command.of("qmp_capabilities"));
    JsonNode version = hello.path("QMP").path("version").path("qemu");
    return version.path("major").asInt() + "." + version.path("minor").asInt();
  }

  /** Runs one command and returns its {@code return} value. */
  JsonNode call(Command command) {
    return callAll(List.of(command)).getFirst();
  }

  JsonNode call(String execute, Map<String, ?> arguments) {
    return call(Command.of(execute, arguments));
  }

  /** Sends all commands in one write, then waits for all; throws the first failure. */
  List<JsonNode> callAll(List<Command> commands) {
    List<JsonNode> results = new ArrayList<>(commands.size());
    @Nullable ForkdException failure = null;
    for (Reply reply : callEach(commands)) {
      switch (reply) {
        case Reply.Returned(JsonNode value) -> results.add(value);
        case Reply.Refused(ForkdException error) -> {
          if (failure == null) {
            failure = error;
          } else {
            failure.addSuppressed(error);
          }
        }
      }
    }
    if (failure != null) {
      throw failure;
    }
    return results;
  }

  /** Sends all commands in one write, then waits for all; one reply each, in order. */
  List<Reply> callEach(List<Command> commands) {
    List<CompletableFuture<JsonNode>> pending = send(commands);
    List<Reply> replies = new ArrayList<>(commands.size());
    for (int i = 0; i < pending.size(); i++) {
      try {
        String what = commands.get(i).execute();
        replies.add(new Reply.Returned(await(what, pending.get(i), COMMAND_TIMEOUT)));
      } catch (ForkdException e) {
        replies.add(new Reply.Refused(e));
      }
    }
    return replies;
  }

  private List<CompletableFuture<JsonNode>> send(List<Command> commands) {
    StringBuilder text = new StringBuilder();
    List<CompletableFuture<JsonNode>> replies = new ArrayList<>(commands.size());
    for (Command command : commands) {
      long id = nextId.incrementAndGet();
      CompletableFuture<JsonNode> reply = new CompletableFuture<>();
      waiting.put(id, reply);
      replies.add(reply);
      text.append(command.json(id)).append('\n');
    }
    ByteBuffer bytes = ByteBuffer.wrap(text.toString().getBytes(StandardCharsets.UTF_8));
    writing.lock();
    try {
      while (bytes.hasRemaining()) {
        socket.write(bytes);
      }
    } catch (IOException e) {
      fail("write: " + e.getMessage());
    } finally {
      writing.unlock();
    }
    if (closed.isDone()) {
      fail(closed.join());
    }
    return replies;
  }

  private JsonNode await(String what, CompletableFuture<JsonNode> reply, Duration timeout) {
    try {
      return reply.get(timeout.toMillis(), TimeUnit.MILLISECONDS);
    } catch (ExecutionException e) {
      if (e.getCause() instanceof ForkdException known) {
        throw new ForkdException(
            known.code(), "QEMU of " + who + ", " + what + ": " + known.message(), known);
      }
      throw new ForkdException(ErrorCode.INTERNAL, "QMP " + what + " of " + who, e.getCause());
    } catch (TimeoutException e) {
      throw new ForkdException(
          ErrorCode.DEADLINE_EXCEEDED,
          "QEMU of " + who + " did not answer '" + what + "' within " + timeout.toSeconds() + " s",
          e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted in '" + what + "' of " + who, e);
    }
  }

  /** Completes with the reason when the connection has ended. */
  CompletableFuture<String> closed() {
    return closed;
  }

  /** Has this done when the monitor ends the connection, which it does when its process ends. */
  void onGone(Runnable action) {
    var _ =
        closed.thenAccept(reason -> {
          if (!reason.equals(CLOSED_BY_US)) {
            action.run();
          }
        });
  }

  private void readLoop() {
    QmpLines lines = new QmpLines(MAX_LINE_BYTES);
    ByteBuffer buffer = ByteBuffer.allocate(16 << 10);
    try {
      while (socket.read(buffer.clear()) >= 0) {
        for (String line : lines.feed(buffer.flip())) {
          dispatch(JSON.readTree(line));
        }
      }
      fail("the monitor closed its socket");
    } catch (IOException | RuntimeException e) {
      fail(String.valueOf(e.getMessage()));
    }
  }

  private void dispatch(JsonNode message) {
    if (message.has("QMP")) {
      greeting.complete(message);
    } else if (message.has("event")) {
      events.accept(message);
    } else if (message.has("id")) {
      CompletableFuture<JsonNode> reply = waiting.remove(message.get("id").asLong());
      if (reply == null) {
        return;
      }
      if (message.has("error")) {
        JsonNode error = message.get("error");
        reply.completeExceptionally(
            new ForkdException(ErrorCode.INTERNAL, error.path("desc").asString()));
      } else {
        reply.complete(message.path("return"));
      }
    }
  }

  private void fail(String reason) {
    closed.complete(reason);
    ForkdException gone =
        new ForkdException(ErrorCode.UNAVAILABLE, "the monitor is gone (" + closed.join() + ")");
    greeting.completeExceptionally(gone);
    waiting.forEach((id, reply) -> {
      waiting.remove(id);
      reply.completeExceptionally(gone);
    });
    closeQuietly();
  }

  private void closeQuietly() {
    try {
      socket.close();
    } catch (IOException e) {
      closed.complete("close: " + e.getMessage());
    }
  }

  @Override
  public void close() {
    fail(CLOSED_BY_US);
  }
}
