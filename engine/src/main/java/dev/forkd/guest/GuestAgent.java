package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.Caller;
import dev.forkd.engine.EvalResult;
import dev.forkd.engine.ExecSpec;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Consumer;
import tools.jackson.databind.JsonNode;

/**
 * The agent inside one guest. Every call is bounded in time; replies are bounded in size; a failure
 * carries the agent's own code.
 *
 * <p>Thread-safe: requests run side by side, except evaluations, which the guest queues.
 */
public final class GuestAgent implements AutoCloseable {
  /** What a freshly booted agent listens for before it has an epoch. */
  public static final byte[] INITIAL_TOKEN =
      "forkd-agent-resync-token-0000000".getBytes(StandardCharsets.US_ASCII);

  private static final HexFormat HEX = HexFormat.of();

  /** Longer than the guest's own limit, which is the one that should strike. */
  private static final Duration GRACE = Duration.ofSeconds(10);

  /** Most bytes of one evaluation's outcome. */
  private static final int MAX_EVAL_BYTES = 16 << 20;

  private final AgentChannel channel;
  private final String who;

  private GuestAgent(String who, AgentChannel channel) {
    this.who = who;
    this.channel = channel;
  }

  /**
   * Wraps a connection; nothing is sent yet.
   *
   * @param who the sandbox, for messages
   */
  public static GuestAgent attach(String who, SocketChannel socket, AgentEvents events) {
    return new GuestAgent(who, new AgentChannel(who, socket, events));
  }

  /** Sends what begins a new conversation; allowed before the guest runs. */
  public void beginSync(byte[] token) {
    channel.beginSync(token);
  }

  public void awaitSync(Duration timeout) {
    channel.awaitSync(timeout);
  }

  /** Waits until the guest has started all it starts. */
  public AgentReady awaitReady(Duration timeout) {
    JsonNode said = channel.awaitReady(timeout);
    return new AgentReady(
        said.path("agent").asString(""),
        said.path("evaluator").asString("none"),
        text(said, "language"),
        text(said, "detail"));
  }

  /** Whether nothing of the user's runs, as the agent last said. */
  public boolean idle() {
    return channel.idle();
  }

  /** Whether the connection has ended: nothing more is heard of the guest. */
  public boolean lost() {
    return channel.lost();
  }

  public int openStreams() {
    return channel.openStreams();
  }

  /** Number of the last request that was made; those made later have higher ones. */
  public int lastAsked() {
    return channel.lastOpened();
  }

  /** Number of the last request of which anything was heard; 0 before there was any. */
  public int lastAnswered() {
    return channel.lastAnswered();
  }

  /** Steps the guest's clock, without waiting for it. */
  public void clock(long unixNanos) {
    byte[] payload =
        ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN).putLong(unixNanos).array();
    channel.send(new Frame(0, Frame.CLOCK, 0, payload));
  }

  /**
   * Reads the guest's clock.
   *
   * @return its Unix time in nanoseconds when it answered; empty where the agent, of an older
   *     template, does not know the question
   */
  public OptionalLong askClock(Duration timeout) {
    try {
      JsonNode said = call(Map.of("op", "clock"), timeout).path("clockNanos");
      return said.canConvertToLong() ? OptionalLong.of(said.asLong()) : OptionalLong.empty();
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.UNIMPLEMENTED) {
        return OptionalLong.empty();
      }
      throw e;
    }
  }

  /** See {@link EpochRequest}. */
  public EpochProof epoch(EpochRequest request, Duration timeout) {
    JsonNode end =
        call(
            Map.of(
                "op", "epoch",
                "epoch", request.epoch(),
                "timeNanos", request.timeNanos(),
                "entropy", HEX.formatHex(request.entropy()),
                "hostname", request.hostname(),
                "machineId", request.machineId(),
                "token", HEX.formatHex(request.nextToken())),
            timeout);
    return new EpochProof(
        end.path("epoch").asLong(-1),
        hex(end, "random").orElse(new byte[0]),
        end.path("clockNanos").asLong(0),
        end.path("hostname").asString(""),
        end.path("machineId").asString(""),
        hex(end, "interpreter"),
        end.path("reseeded").asBoolean(false));
  }

  /** Stops all user processes until {@link #thaw}. */
  public FreezeResult freeze(Duration timeout) {
    JsonNode end = call(Map.of("op", "freeze"), timeout);
    return new FreezeResult(
        end.path("frozen").asBoolean(false),
        end.path("processes").asInt(0),
        end.path("micros").asLong(0));
  }

  public void thaw(Duration timeout) {
    call(Map.of("op", "thaw"), timeout);
  }

  /**
   * Asks for a thaw, before anything that is asked later, and waits for the answer elsewhere.
   *
   * @param failed hears why there was none
   */
  public void thawSoon(Duration timeout, Consumer<ForkdException> failed) {
    AgentStream stream = channel.open(Map.of("op", "thaw"));
    Threads.virtual(
        "thaw-" + who,
        () -> {
          try {
            drain(stream, OutputStream.nullOutputStream(), timeout, Limit.WHOLE, "thaw");
          } catch (ForkdException e) {
            failed.accept(e);
          }
        });
  }

  public AgentStatus status(Duration timeout) {
    JsonNode end = call(Map.of("op", "status"), timeout);
    return new AgentStatus(
        end.path("agent").asString(""),
        end.path("evaluator").asString("none"),
        text(end, "language"),
        text(end, "numpy"),
        end.path("processes").asInt(0),
        end.path("idle").asBoolean(false));
  }

  /** Flushes the guest's file systems. */
  public void syncDisks(Duration timeout) {
    call(Map.of("op", "sync"), timeout);
  }

  /** Brings the guest to rest before it becomes a template. */
  public void settle(Duration timeout) {
    call(Map.of("op", "settle"), timeout);
  }

  /** Runs a request whose answer is only its result. */
  JsonNode call(Map<String, ?> request, Duration timeout) {
    AgentStream stream = channel.open(request);
    String op = "" + request.get("op");
    // For the whole: data nobody asked for must not keep a request open, and a branch waiting.
    return drain(stream, OutputStream.nullOutputStream(), timeout, Limit.WHOLE, op);
  }

  JsonNode call(Map<String, ?> request, OutputStream sink, Duration timeout) {
    AgentStream stream = channel.open(request);
    return drain(stream, sink, timeout, "" + request.get("op"));
  }

  AgentStream open(Map<String, ?> request) {
    return channel.open(request);
  }

  /** See {@link AgentChannel#cancel}. */
  void cancel(AgentStream stream, String why) {
    channel.cancel(stream, why);
  }

  void sendEof(AgentStream stream) {
    channel.send(new Frame(stream.id(), Frame.EOF, Frame.CHANNEL_INPUT, new byte[0]));
  }

  private enum Limit {
    SILENCE,
    WHOLE
  }

  /** Consumes a stream to its end; {@code timeout} is for silence, not for the whole. */
  JsonNode drain(AgentStream stream, OutputStream sink, Duration timeout, String what) {
    return drain(stream, sink, timeout, Limit.SILENCE, what);
  }

  private JsonNode drain(
      AgentStream stream, OutputStream sink, Duration timeout, Limit limit, String what) {
    try {
      return drained(stream, sink, timeout, limit, what);
    } catch (RuntimeException e) {
      channel.cancel(stream, "nobody waits for '" + what + "' any more");
      throw e;
    }
  }

  private JsonNode drained(
      AgentStream stream, OutputStream sink, Duration timeout, Limit limit, String what) {
    long begin = System.nanoTime();
    while (true) {
      Duration left =
          limit == Limit.WHOLE ? timeout.minusNanos(System.nanoTime() - begin) : timeout;
      Optional<AgentStream.Item> item = left.isPositive() ? stream.next(left) : Optional.empty();
      if (item.isEmpty()) {
        throw new ForkdException(
            ErrorCode.DEADLINE_EXCEEDED,
            "the guest of "
                + who
                + " did not answer '"
                + what
                + "' within "
                + timeout.toMillis()
                + " ms");
      }
      switch (item.get()) {
        case AgentStream.Item.Data(_, byte[] bytes) -> {
          try {
            sink.write(bytes);
          } catch (IOException e) {
            throw new ForkdException(
                ErrorCode.CANCELLED, "the receiver of '" + what + "' went away", e);
          }
        }
        case AgentStream.Item.Note _, AgentStream.Item.Eof _ -> {}
        case AgentStream.Item.Ended(JsonNode result) -> {
          return result;
        }
        case AgentStream.Item.Failed(ForkdException why) ->
            throw new ForkdException(why.code(), why.message(), why);
      }
    }
  }

  /** Evaluates code for someone who waits, however much it gives. */
  public EvalResult eval(String code, Duration timeout) {
    return eval(code, timeout, Caller.PATIENT);
  }

  /**
   * Evaluates code in the warm interpreter; it is interrupted when the caller goes away.
   *
   * @throws ForkdException UNIMPLEMENTED when the image has no interpreter, DEADLINE_EXCEEDED,
   *     FAILED_PRECONDITION when the outcome is larger than {@value #MAX_EVAL_BYTES} bytes,
   *     RESOURCE_EXHAUSTED when it is more than the caller may hold
   */
  public EvalResult eval(String code, Duration timeout, Caller caller) {
    long begin = System.nanoTime();
    AgentStream stream = channel.open(Map.of("op", "eval", "timeoutMillis", timeout.toMillis()));
    byte[] bytes = code.getBytes(StandardCharsets.UTF_8);
    Outcome outcome = new Outcome(caller);
    try (Caller.Standing _ = caller.onGone(() -> giveUp(stream))) {
      try {
        stream.sendInput(bytes, 0, bytes.length, timeout.plus(GRACE));
        sendEof(stream);
      } catch (ForkdException e) {
        if (e.code() != ErrorCode.FAILED_PRECONDITION) {
          giveUp(stream);
          throw e;
        }
        // The guest has answered before it took everything: the answer says why.
      }
      drain(stream, outcome, timeout.plus(GRACE), "eval");
    }
    outcome.check();
    JsonNode said = GuestJson.read(outcome.bytes.toByteArray(), "an outcome");
    return new EvalResult(
        text(said, "result"),
        text(said, "error"),
        text(said, "traceback"),
        said.path("stdout").asString(""),
        (System.nanoTime() - begin) / 1e6);
  }

  private void giveUp(AgentStream stream) {
    channel.cancel(stream, "nobody waits for the evaluation any more");
  }

  /** What an evaluation gave, as far as it may be held; the rest is taken and dropped. */
  private static final class Outcome extends OutputStream {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private final Caller caller;
    private Optional<ForkdException> refusal = Optional.empty();

    Outcome(Caller caller) {
      this.caller = caller;
    }

    @Override
    public void write(int b) {
      write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] data, int offset, int length) {
      if (refusal.isPresent()) {
        return;
      }
      if (bytes.size() + length > MAX_EVAL_BYTES) {
        refuse(
            ErrorCode.FAILED_PRECONDITION,
            "the evaluation gave more than "
                + (MAX_EVAL_BYTES >> 20)
                + " MiB; write it to a file in the guest and fetch that");
      } else if (caller.mayHold(length)) {
        bytes.write(data, offset, length);
      } else {
        refuse(
            ErrorCode.RESOURCE_EXHAUSTED,
            "the daemon holds as many large results as it may; try again, or write the result to"
                + " a file in the guest and fetch that");
      }
    }

    private void refuse(ErrorCode code, String why) {
      bytes.reset();
      refusal = Optional.of(new ForkdException(code, why));
    }

    void check() {
      refusal.ifPresent(why -> {
        throw why;
      });
    }
  }

  /** Starts a command; what it writes is taken by {@link GuestExec#run}. */
  public GuestExec exec(ExecSpec spec) {
    Map<String, Object> request = new LinkedHashMap<>();
    request.put("op", "exec");
    request.put("args", spec.args());
    request.put("env", new HashMap<>(spec.env()));
    spec.cwd().ifPresent(cwd -> request.put("cwd", cwd));
    spec.user().ifPresent(user -> request.put("user", user));
    request.put("timeoutMillis", spec.timeout().toMillis());
    request.put("background", spec.background());
    request.put("stdin", spec.interactive() || spec.stdin().length > 0);
    return new GuestExec(channel, channel.open(request), spec.timeout().plus(GRACE));
  }

  /** Ends all processes of the user's and what the interpreter holds, and flushes the disk. */
  public void endProcesses(Duration timeout) {
    call(Map.of("op", "reset"), timeout);
  }

  /** The guest's kept processes. */
  public AgentProcesses processes() {
    return new AgentProcesses(this);
  }

  /** See {@link AgentConnection#open}. */
  public AgentConnection connect(int port, Runnable ended) {
    return AgentConnection.open(this, port, ended);
  }

  /** What the guest uses now. */
  public AgentUsage usage(Duration timeout) {
    JsonNode said = call(Map.of("op", "usage"), timeout);
    return new AgentUsage(
        said.path("cpuCount").asInt(1),
        said.path("cpuBusyMillis").asLong(0),
        said.path("uptimeMillis").asLong(0),
        said.path("memoryTotalBytes").asLong(0),
        said.path("memoryUsedBytes").asLong(0),
        said.path("memoryCacheBytes").asLong(0),
        said.path("diskTotalBytes").asLong(0),
        said.path("diskUsedBytes").asLong(0));
  }

  String who() {
    return who;
  }

  /** The guest's files. */
  public AgentFiles files() {
    return new AgentFiles(this);
  }

  static Optional<String> text(JsonNode node, String field) {
    JsonNode value = node.path(field);
    return value.isString() ? Optional.of(value.asString()) : Optional.empty();
  }

  private static Optional<byte[]> hex(JsonNode node, String field) {
    return text(node, field)
        .map(value -> {
          try {
            return HEX.parseHex(value);
          } catch (IllegalArgumentException e) {
            throw FrameDecoder.broken("a " + field + " that is not hexadecimal");
          }
        });
  }

  @Override
  public void close() {
    channel.close();
  }
}
