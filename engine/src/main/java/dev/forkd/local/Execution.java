package dev.forkd.local;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.Caller;
import dev.forkd.engine.EvalResult;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSession;
import dev.forkd.engine.ExecSpec;
import dev.forkd.guest.GuestAgent;
import dev.forkd.guest.GuestExec;
import dev.forkd.sandbox.Sandbox;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/** Commands and evaluations in sandboxes. */
final class Execution {
  private static final int CANNOT_RUN = 126;
  private static final int NO_PROGRAM = 127;

  private Execution() {}

  /**
   * Evaluates code, for as long as somebody waits for it.
   *
   * @throws ForkdException as {@link GuestAgent#eval} does, or why the sandbox ended
   */
  static EvalResult eval(Sandbox sandbox, String code, Duration timeout, Caller caller) {
    try (Sandbox.Session session = sandbox.enter(Sandbox.patience(timeout))) {
      return session.agent().eval(code, timeout, caller);
    } catch (ForkdException e) {
      throw sandbox.reason(e);
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
            end.complete(run(sandbox, exec, listener));
          } catch (RuntimeException e) {
            end.completeExceptionally(e);
          } finally {
            if (!end.isDone()) { // An Error: whoever waits is not left waiting.
              exec.cancel();
              end.completeExceptionally(
                  new ForkdException(ErrorCode.INTERNAL, "the command's output was not taken"));
            }
            session.close();
          }
        });
    return new Session(session, exec, end);
  }

  private static ExecExit run(Sandbox sandbox, GuestExec exec, ExecListener listener) {
    try {
      return exec.run(listener);
    } catch (ForkdException e) {
      return notRun(e, listener).orElseThrow(() -> sandbox.reason(e));
    }
  }

  /**
   * What a shell makes of a program that is not there or must not be run. No failure of the
   * request: whoever asked for a sandbox's command would take "not found" for the sandbox.
   */
  private static Optional<ExecExit> notRun(ForkdException why, ExecListener listener) {
    int status =
        switch (why.code()) {
          case NOT_FOUND -> NO_PROGRAM;
          case PERMISSION_DENIED, FAILED_PRECONDITION -> CANNOT_RUN;
          default -> 0;
        };
    if (status == 0) {
      return Optional.empty();
    }
    listener.stderr((why.message() + "\n").getBytes(StandardCharsets.UTF_8));
    return Optional.of(new ExecExit.Exited(status));
  }
}
