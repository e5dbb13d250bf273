package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.GuestProcesses;
import dev.forkd.engine.ProcessInput;
import dev.forkd.engine.ProcessListener;
import dev.forkd.engine.ProcessRef;
import dev.forkd.engine.ProcessSpec;
import dev.forkd.engine.ProcessStream;
import dev.forkd.engine.ProcessView;
import dev.forkd.engine.TerminalSize;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;

/** Kept processes that run on this host, as this user. A terminal is a pipe that is called one. */
final class FakeProcesses implements GuestProcesses, AutoCloseable {
  private static final int FIRST_OF_SIGNALLED = 128;
  private final Map<Long, Kept> all = new ConcurrentHashMap<>();
  private final FakeDoor door;

  FakeProcesses(FakeDoor door) {
    this.door = door;
  }

  private final class Kept {
    final Process process;
    final ProcessSpec spec;
    final List<ProcessListener> listeners = new CopyOnWriteArrayList<>();
    final CompletableFuture<ExecExit> end = new CompletableFuture<>();
    volatile boolean timedOut;

    Kept(Process process, ProcessSpec spec) {
      this.process = process;
      this.spec = spec;
    }

    void pump(InputStream from, boolean errors) {
      byte[] chunk = new byte[8192];
      try {
        for (int n = from.read(chunk); n >= 0; n = from.read(chunk)) {
          byte[] piece = java.util.Arrays.copyOf(chunk, n);
          for (ProcessListener listener : listeners) {
            try (FakeDoor.Pass _ = door.stay()) {
              tell(listener, piece, errors);
            }
          }
        }
      } catch (IOException e) {
        return; // It was killed.
      }
    }

    private void tell(ProcessListener listener, byte[] piece, boolean errors) {
      if (spec.terminal().isPresent()) {
        listener.terminal(piece);
      } else if (errors) {
        listener.stderr(piece);
      } else {
        listener.stdout(piece);
      }
    }

    void finish() {
      int status = process.onExit().join().exitValue();
      all.remove(process.pid());
      end.complete(
          timedOut
              ? new ExecExit.TimedOut()
              : status > FIRST_OF_SIGNALLED
                  ? new ExecExit.Signalled(status - FIRST_OF_SIGNALLED)
                  : new ExecExit.Exited(status));
    }
  }

  private record Listening(
      Kept kept, ProcessListener listener, CompletableFuture<ExecExit> end, FakeDoor.Pass pass)
      implements ProcessStream {
    @Override
    public ExecExit await() {
      try {
        return end.join();
      } catch (CompletionException e) {
        throw e.getCause() instanceof ForkdException known
            ? known
            : new ForkdException(ErrorCode.INTERNAL, "await", e);
      }
    }

    @Override
    public void close() {
      kept.listeners.remove(listener);
      end.completeExceptionally(new ForkdException(ErrorCode.CANCELLED, "closed"));
      pass.close();
    }
  }

  @Override
  public ProcessStream start(ProcessSpec spec, ProcessListener listener) {
    if (spec.cwd().filter(cwd -> !Files.isDirectory(Path.of(cwd))).isPresent()) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "cwd '" + spec.cwd().get() + "' does not exist");
    }
    ProcessBuilder builder = new ProcessBuilder(spec.args());
    builder.environment().putAll(spec.env());
    builder.directory(
        spec.cwd().map(Path::of).filter(Files::isDirectory).orElse(Path.of("/")).toFile());
    builder.redirectErrorStream(spec.terminal().isPresent());
    if (!spec.input() && spec.terminal().isEmpty()) {
      builder.redirectInput(ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile()));
    }
    Process process;
    try {
      process = builder.start();
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.INVALID_ARGUMENT, "cannot run: " + e.getMessage(), e);
    }
    Kept kept = new Kept(process, spec);
    all.put(process.pid(), kept);
    kept.listeners.add(listener);
    listener.started((int) process.pid());
    spec.lifetime()
        .ifPresent(
            life -> Threads.platform("fake-lifetime", () -> endAfter(kept, life.toMillis())));
    Threads.virtual(
        "fake-output",
        () -> {
          Thread errors =
              Threads.virtual("fake-errors", () -> kept.pump(process.getErrorStream(), true));
          kept.pump(process.getInputStream(), false);
          try {
            errors.join();
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
          }
          kept.finish();
        });
    return listening(kept, listener);
  }

  private static void endAfter(Kept kept, long millis) {
    try {
      if (!kept.process.waitFor(millis, TimeUnit.MILLISECONDS)) {
        kept.timedOut = true;
        killTree(kept.process);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static void killTree(Process process) {
    process.descendants().forEach(ProcessHandle::destroyForcibly);
    process.destroyForcibly();
  }

  private ProcessStream listening(Kept kept, ProcessListener listener) {
    CompletableFuture<ExecExit> mine = new CompletableFuture<>();
    var _ = kept.end.thenAccept(mine::complete);
    return new Listening(kept, listener, mine, door.enter());
  }

  private Kept require(ProcessRef process) {
    Optional<Kept> found =
        switch (process) {
          case ProcessRef.Pid(int pid) -> Optional.ofNullable(all.get((long) pid));
          case ProcessRef.Labelled(String label) ->
              all.values().stream()
                  .filter(kept -> kept.spec.label().equals(Optional.of(label)))
                  .findFirst();
        };
    return found.orElseThrow(
        () -> new ForkdException(ErrorCode.NOT_FOUND, "no such process is kept"));
  }

  @Override
  public ProcessStream attach(ProcessRef process, ProcessListener listener) {
    Kept kept = require(process);
    kept.listeners.add(listener);
    listener.started((int) kept.process.pid());
    return listening(kept, listener);
  }

  @Override
  public List<ProcessView> list() {
    List<ProcessView> views = new ArrayList<>();
    all.values().forEach(kept -> views.add(new ProcessView((int) kept.process.pid(), kept.spec)));
    views.sort(Comparator.comparingInt(ProcessView::pid));
    return views;
  }

  /** A pipe takes what it takes: who gives up leaves a thread that ends with the process. */
  @Override
  public ProcessInput input(ProcessRef process) {
    CompletableFuture<Void> closed = new CompletableFuture<>();
    return new ProcessInput() {
      @Override
      public void write(byte[] bytes) {
        CompletableFuture<Void> written = new CompletableFuture<>();
        Threads.platform(
            "fake-input",
            () -> {
              try {
                writeNow(process, bytes);
                written.complete(null);
              } catch (ForkdException e) {
                written.completeExceptionally(e);
              }
            });
        try (FakeDoor.Pass _ = door.enter()) {
          var _ = CompletableFuture.anyOf(written, closed).join();
        } catch (CompletionException e) {
          throw e.getCause() instanceof ForkdException known
              ? known
              : new ForkdException(ErrorCode.INTERNAL, "input", e);
        }
      }

      @Override
      public void close() {
        closed.completeExceptionally(new ForkdException(ErrorCode.CANCELLED, "given up"));
      }
    };
  }

  private void writeNow(ProcessRef process, byte[] bytes) {
    Kept kept = require(process);
    if (!kept.spec.input() && kept.spec.terminal().isEmpty()) {
      throw new ForkdException(ErrorCode.FAILED_PRECONDITION, "it has no open input");
    }
    try {
      kept.process.getOutputStream().write(bytes);
      kept.process.getOutputStream().flush();
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.FAILED_PRECONDITION, "it has no open input", e);
    }
  }

  @Override
  public void closeInput(ProcessRef process) {
    Kept kept = require(process);
    if (kept.spec.terminal().isPresent()) {
      throw new ForkdException(ErrorCode.FAILED_PRECONDITION, "it has a terminal");
    }
    try {
      kept.process.getOutputStream().close();
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.FAILED_PRECONDITION, "it has no open input", e);
    }
  }

  @Override
  public void signal(ProcessRef process, int number) {
    Kept kept = require(process);
    if (number == 9) {
      killTree(kept.process);
    } else {
      kept.process.destroy();
    }
  }

  @Override
  public void resize(ProcessRef process, TerminalSize size) {
    if (require(process).spec.terminal().isEmpty()) {
      throw new ForkdException(ErrorCode.FAILED_PRECONDITION, "it has no terminal");
    }
  }

  @Override
  public void close() {
    all.values().forEach(kept -> killTree(kept.process));
  }
}
