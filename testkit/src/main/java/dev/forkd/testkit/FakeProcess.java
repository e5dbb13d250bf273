package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSession;
import dev.forkd.engine.ExecSpec;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * A command of the pretended guest: {@code true}, {@code false}, {@code exit N}, {@code echo …} (to
 * standard output), {@code warn …} (to standard error), {@code env NAME}, {@code cat} (input to
 * output), {@code sleep SECONDS}, {@code yes} (until it is killed), {@code flood …} (8 KiB to
 * standard output, then … to standard error), {@code crash}. Anything else is not found, as a shell
 * says it.
 */
final class FakeProcess implements ExecSession {
  /** Input is never written in empty chunks, so an empty one can mark its end. */
  private static final byte[] END_OF_INPUT = {};

  private static final byte[] YES = "y\n".repeat(4096).getBytes(StandardCharsets.UTF_8);

  private final ExecSpec spec;
  private final ExecListener listener;
  private final BlockingQueue<byte[]> input = new LinkedBlockingQueue<>(64);
  private final CompletableFuture<ExecExit> end = new CompletableFuture<>();

  private FakeProcess(ExecSpec spec, ExecListener listener) {
    this.spec = spec;
    this.listener = listener;
  }

  static FakeProcess start(ExecSpec spec, ExecListener listener) {
    FakeProcess process = new FakeProcess(spec, listener);
    String program = spec.args().getFirst();
    if (spec.background()) {
      process.end.complete(new ExecExit.Background(77));
    } else {
      Threads.virtual("fake-" + program, process::run);
      Threads.virtual("fake-timeout", process::enforceTimeout);
    }
    return process;
  }

  private void enforceTimeout() {
    try {
      end.get(spec.timeout().toMillis(), TimeUnit.MILLISECONDS);
    } catch (TimeoutException e) {
      end.complete(new ExecExit.TimedOut());
    } catch (ExecutionException e) {
      return;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void run() {
    String rest = String.join(" ", spec.args().subList(1, spec.args().size()));
    try {
      switch (spec.args().getFirst()) {
        case "false" -> end.complete(new ExecExit.Exited(1));
        case "exit" -> end.complete(new ExecExit.Exited(Integer.parseInt(rest)));
        case "crash" -> end.complete(new ExecExit.Signalled(11));
        case "sleep" -> waitFor(Double.parseDouble(rest));
        case "cat" -> copyInput();
        case "yes" -> {
          while (!end.isDone()) {
            listener.stdout(YES.clone());
          }
        }
        case "flood" -> {
          listener.stdout(YES.clone());
          listener.stderr((rest + "\n").getBytes(StandardCharsets.UTF_8));
        }
        case "warn" -> listener.stderr((rest + "\n").getBytes(StandardCharsets.UTF_8));
        case "env" ->
            listener.stdout(
                (spec.env().getOrDefault(rest, "") + "\n").getBytes(StandardCharsets.UTF_8));
        case "echo" -> listener.stdout((rest + "\n").getBytes(StandardCharsets.UTF_8));
        case "true" -> {}
        default -> {
          String program = spec.args().getFirst();
          listener.stderr(
              ("cannot run '" + program + "': No such file or directory\n")
                  .getBytes(StandardCharsets.UTF_8));
          end.complete(new ExecExit.Exited(127));
        }
      }
      end.complete(new ExecExit.Exited(0));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void waitFor(double seconds) throws InterruptedException {
    try {
      end.get((long) (seconds * 1000), TimeUnit.MILLISECONDS);
    } catch (TimeoutException | ExecutionException e) {
      return;
    }
  }

  private void copyInput() throws InterruptedException {
    while (!end.isDone()) {
      byte[] chunk = input.poll(50, TimeUnit.MILLISECONDS);
      if (chunk == null) {
        continue;
      }
      if (chunk.length == 0) {
        return;
      }
      listener.stdout(chunk);
    }
  }

  boolean ended() {
    return end.isDone();
  }

  void fail(ForkdException failure) {
    end.completeExceptionally(failure);
  }

  @Override
  public void writeStdin(byte[] bytes) {
    if (bytes.length > 0) {
      put(bytes.clone());
    }
  }

  @Override
  public void closeStdin() {
    put(END_OF_INPUT);
  }

  private void put(byte[] bytes) {
    try {
      while (!end.isDone()) {
        if (input.offer(bytes, 50, TimeUnit.MILLISECONDS)) {
          return;
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public void signal(int number) {
    end.complete(new ExecExit.Signalled(number));
  }

  @Override
  public ExecExit await() {
    try {
      return end.get();
    } catch (ExecutionException e) {
      if (e.getCause() instanceof ForkdException failure) {
        throw failure;
      }
      throw new IllegalStateException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted", e);
    }
  }

  @Override
  public void close() {
    end.complete(new ExecExit.Signalled(9));
  }
}
