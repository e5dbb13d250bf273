package dev.forkd.http.rest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Threads;
import dev.forkd.api.rest.ExecLine;
import dev.forkd.api.rest.ExecRequest;
import dev.forkd.api.rest.SignalRequest;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSession;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Exchange;
import dev.forkd.http.Failures;
import dev.forkd.http.Limits;
import dev.forkd.http.NdjsonStream;
import dev.forkd.http.Route;
import dev.forkd.metrics.Meters;
import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.LongSupplier;

/**
 * Commands whose output is sent as it comes. The request's thread owns the session: it writes the
 * session's line, waits for the end, and writes a sign of life meanwhile, which also shows whether
 * the client is still there; when it is not, the command is killed. Output goes straight from the
 * engine's thread to the socket, so a slow client slows the command and nothing piles up.
 */
final class ExecStreamRoutes {
  private static final int STDIN_CHUNK_BYTES = 16384;

  private final ForkdEngine engine;
  private final Meters meters;
  private final LongSupplier nanoClock;
  private final Semaphore slots = new Semaphore(Limits.EXEC_STREAMS_MAX);
  private final Map<String, Live> sessions = new ConcurrentHashMap<>();

  /** A command under way and the sandbox it belongs to. */
  private record Live(SandboxId sandbox, ExecSession session) {}

  ExecStreamRoutes(ForkdEngine engine, Meters meters, LongSupplier nanoClock) {
    this.engine = engine;
    this.meters = meters;
    this.nanoClock = nanoClock;
  }

  List<Route> routes() {
    return List.of(
        new Route("POST", "/v1/sandboxes/{id}/exec/stream", this::stream),
        new Route("POST", "/v1/sandboxes/{id}/exec/{session}/stdin", this::stdin),
        new Route("POST", "/v1/sandboxes/{id}/exec/{session}/signal", this::signal));
  }

  /** Holds output back until the session's line is out, then passes it on. */
  private static final class Output implements ExecListener {
    private final CountDownLatch open = new CountDownLatch(1);
    private final CompletableFuture<ExecExit> end;
    private volatile NdjsonStream lines; // Set by the request's thread before the latch opens.

    @SuppressWarnings("NullAway.Init")
    Output(CompletableFuture<ExecExit> end) {
      this.end = end;
    }

    void open(NdjsonStream stream) {
      lines = stream;
      open.countDown();
    }

    /** Lets a listener go that waits for a stream which will not come. */
    void abandon() {
      end.cancel(false);
      open.countDown();
    }

    @Override
    public void stdout(byte[] chunk) {
      pass(ExecLine.stdout(Base64.getEncoder().encodeToString(chunk)));
    }

    @Override
    public void stderr(byte[] chunk) {
      pass(ExecLine.stderr(Base64.getEncoder().encodeToString(chunk)));
    }

    private void pass(ExecLine line) {
      try {
        open.await();
        if (!end.isDone()) {
          lines.line(line);
        }
      } catch (ClientGoneException e) {
        end.completeExceptionally(e);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private void stream(Exchange exchange) {
    SandboxId id = exchange.sandboxId();
    ExecRequest body = exchange.body(ExecRequest.class);
    byte[] given = ExecRoutes.spec(body, false).stdin();
    ExecSpec spec = ExecRoutes.spec(body, body.interactive() || given.length > 0);
    if (!slots.tryAcquire()) {
      throw new ForkdException(
          ErrorCode.RESOURCE_EXHAUSTED,
          Limits.EXEC_STREAMS_MAX + " streamed commands are under way; try again when one ended");
    }
    CompletableFuture<ExecExit> end = new CompletableFuture<>();
    Output output = new Output(end);
    long beginNanos = nanoClock.getAsLong();
    try (ExecSession session = engine.startExec(id, spec, output)) {
      String name = HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong());
      sessions.put(name, new Live(id, session));
      try {
        NdjsonStream lines = exchange.ndjson(200);
        lines.line(ExecLine.session(name));
        output.open(lines);
        Threads.virtual("exec-wait-" + name, () -> await(session, end));
        if (given.length > 0) {
          Threads.virtual("exec-stdin-" + name, () -> feed(session, given, !body.interactive()));
        }
        lines.line(last(exchange, end, lines));
        lines.close();
      } finally {
        sessions.remove(name);
        output.abandon();
      }
    } finally {
      slots.release();
      meters.executed(Duration.ofNanos(nanoClock.getAsLong() - beginNanos));
    }
  }

  private static void await(ExecSession session, CompletableFuture<ExecExit> end) {
    try {
      end.complete(session.await());
    } catch (RuntimeException e) {
      end.completeExceptionally(e);
    }
  }

  /** A command may end without reading its input; that is no failure. */
  private static void feed(ExecSession session, byte[] bytes, boolean close) {
    try {
      for (int from = 0; from < bytes.length; from += STDIN_CHUNK_BYTES) {
        session.writeStdin(
            Arrays.copyOfRange(bytes, from, Math.min(bytes.length, from + STDIN_CHUNK_BYTES)));
      }
      if (close) {
        session.closeStdin();
      }
    } catch (ForkdException e) {
      return;
    }
  }

  /** Waits for the end, with signs of life, and puts it into words. */
  private static ExecLine last(
      Exchange exchange, CompletableFuture<ExecExit> end, NdjsonStream lines) {
    while (true) {
      try {
        ExecExit exit = end.get(Limits.STREAM_SIGN_INTERVAL.toMillis(), TimeUnit.MILLISECONDS);
        return ExecLine.ended(
            exit.shellStatus(),
            ExecRoutes.signal(exit),
            exit instanceof ExecExit.TimedOut,
            ExecRoutes.guestPid(exit));
      } catch (TimeoutException _) {
        lines.line(ExecLine.sign());
      } catch (ExecutionException e) {
        Throwable cause = Objects.requireNonNullElse(e.getCause(), e);
        if (cause instanceof ClientGoneException gone) {
          throw gone;
        }
        Failures.Rendered failure = Failures.render(cause, exchange.requestId());
        return ExecLine.failed(failure.code().wireName(), failure.message());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new ForkdException(ErrorCode.CANCELLED, "the daemon is stopping", e);
      }
    }
  }

  private void stdin(Exchange exchange) {
    ExecSession session = session(exchange);
    boolean close = exchange.queryFlag("eof");
    try (InputStream body = exchange.bodyStream()) {
      while (true) {
        byte[] chunk = body.readNBytes(STDIN_CHUNK_BYTES);
        if (chunk.length == 0) {
          break;
        }
        session.writeStdin(chunk);
      }
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
    if (close) {
      session.closeStdin();
    }
    exchange.empty(204);
  }

  private void signal(Exchange exchange) {
    ExecSession session = session(exchange);
    SignalRequest body = exchange.body(SignalRequest.class);
    if (body.signal().isEmpty()) {
      throw Checks.invalid("send the signal's number, such as {\"signal\":15}");
    }
    session.signal(Math.toIntExact(Checks.inRange("signal", body.signal().getAsInt(), 1, 64)));
    exchange.empty(204);
  }

  private ExecSession session(Exchange exchange) {
    SandboxId id = exchange.sandboxId();
    Live live = sessions.get(exchange.segment("session"));
    if (live == null || !live.sandbox().equals(id)) {
      throw new ForkdException(
          ErrorCode.NOT_FOUND,
          "sandbox " + id + " has no such command under way; it may have ended");
    }
    return live.session();
  }
}
