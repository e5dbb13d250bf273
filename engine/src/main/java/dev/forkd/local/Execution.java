package dev.forkd.local;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecResult;
import dev.forkd.engine.ExecSession;
import dev.forkd.engine.ExecSpec;
import dev.forkd.guest.GuestExec;
import dev.forkd.sandbox.Sandbox;
import java.io.ByteArrayOutputStream;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/** Commands in sandboxes: to their end, or as a session. */
final class Execution {
  private Execution() {}

  /** Collects output up to a limit and drops the rest. */
  private static final class Collector implements ExecListener {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();
    private final long limitBytes;
    private boolean truncated;

    Collector(long limitBytes) {
      this.limitBytes = limitBytes;
    }

    @Override
    public void stdout(byte[] chunk) {
      keep(out, chunk);
    }

    @Override
    public void stderr(byte[] chunk) {
      keep(err, chunk);
    }

    private void keep(ByteArrayOutputStream into, byte[] chunk) {
      int room = (int) Math.max(0, Math.min(chunk.length, limitBytes - into.size()));
      into.write(chunk, 0, room);
      truncated |= room < chunk.length;
    }
  }

  static ExecResult run(Sandbox sandbox, ExecSpec spec) {
    long begin = System.nanoTime();
    Collector collector = new Collector(spec.outputLimitBytes());
    try (Sandbox.Session session = sandbox.enter(Sandbox.patience(spec.timeout()))) {
      GuestExec exec = session.agent().exec(spec);
      if (spec.stdin().length > 0) {
        // Beside the output: a command may not read on before its output is taken.
        Threads.virtual("stdin-" + sandbox.id(), () -> feed(exec, spec.stdin()));
      }
      ExecExit exit = exec.run(collector);
      return new ExecResult(
          exit,
          collector.out.toByteArray(),
          collector.err.toByteArray(),
          collector.truncated,
          (System.nanoTime() - begin) / 1e6);
    }
  }

  private static void feed(GuestExec exec, byte[] input) {
    try {
      exec.writeStdin(input);
      exec.closeStdin();
    } catch (ForkdException e) {
      // The command ended without reading everything, which is its right.
      return;
    }
  }

  /** A running command that keeps its sandbox running. */
  private record Session(Sandbox.Session session, GuestExec exec, CompletableFuture<ExecExit> end)
      implements ExecSession {

    @Override
    public void writeStdin(byte[] bytes) {
      exec.writeStdin(bytes);
    }

    @Override
    public void closeStdin() {
      exec.closeStdin();
    }

    @Override
    public void signal(int number) {
      exec.signal(number);
    }

    @Override
    public ExecExit await() {
      try {
        return end.join();
      } catch (CompletionException e) {
        throw e.getCause() instanceof ForkdException known
            ? known
            : new ForkdException(ErrorCode.INTERNAL, "command session", e.getCause());
      }
    }

    @Override
    public void close() {
      if (!end.isDone()) {
        exec.cancel();
        end.completeExceptionally(
            new ForkdException(ErrorCode.CANCELLED, "the command's session was closed"));
      }
      session.close();
    }
  }

  static ExecSession start(Sandbox sandbox, ExecSpec spec, ExecListener listener) {
    Sandbox.Session session = sandbox.enter(Sandbox.patience(spec.timeout()));
    GuestExec exec;
    try {
      exec = session.agent().exec(spec);
    } catch (RuntimeException e) {
      session.close();
      throw e;
    }
    CompletableFuture<ExecExit> end = new CompletableFuture<>();
    Threads.virtual(
        "exec-" + sandbox.id(),
        () -> {
          try {
            end.complete(exec.run(listener));
          } catch (RuntimeException e) {
            exec.cancel();
            end.completeExceptionally(e);
          } finally {
            session.close();
          }
        });
    return new Session(session, exec, end);
  }
}
