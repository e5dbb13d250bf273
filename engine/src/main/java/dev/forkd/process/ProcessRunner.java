package dev.forkd.process;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Runs programs to their end. Holds no state; any thread may use it. */
public final class ProcessRunner {
  /** How many lines of a failed program's output its error quotes. */
  private static final int QUOTED_LINES = 12;

  /** What still holds the output open after the program itself has ended gets this long. */
  private static final long DRAIN_MILLIS = 500;

  private static final int READ_BYTES = 8192;

  private ProcessRunner() {}

  /**
   * Runs it and answers however it ended.
   *
   * @throws ForkdException FAILED_PRECONDITION if it cannot be started, DEADLINE_EXCEEDED if it did
   *     not end in time (it is killed with all it started), CANCELLED if this thread was
   *     interrupted
   */
  public static ProcessResult run(Command command) {
    long begin = System.nanoTime();
    Process process = start(command);
    TailBuffer stdout = new TailBuffer(command.outputLimitBytes());
    TailBuffer stderr = new TailBuffer(command.outputLimitBytes());
    CountDownLatch drained = new CountDownLatch(command.stdoutFile().isPresent() ? 1 : 2);
    pump(process.getErrorStream(), stderr, command, drained);
    if (command.stdoutFile().isEmpty()) {
      pump(process.getInputStream(), stdout, command, drained);
    }
    try {
      if (!process.waitFor(command.timeout().toMillis(), TimeUnit.MILLISECONDS)) {
        kill(process);
        boolean _ = drained.await(DRAIN_MILLIS, TimeUnit.MILLISECONDS);
        throw new ForkdException(
            ErrorCode.DEADLINE_EXCEEDED,
            "'"
                + command.display()
                + "' did not end within "
                + command.timeout().toSeconds()
                + " s and was killed"
                + quote(stdout, stderr)
                + advice(command));
      }
      boolean _ = drained.await(DRAIN_MILLIS, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      kill(process);
      Thread.currentThread().interrupt();
      throw new ForkdException(
          ErrorCode.CANCELLED, "'" + command.display() + "' was interrupted and killed", e);
    } finally {
      closeQuietly(process.getInputStream());
      closeQuietly(process.getErrorStream());
    }
    return new ProcessResult(
        process.exitValue(),
        stdout.text(),
        stderr.text(),
        stdout.truncated() || stderr.truncated(),
        Duration.ofNanos(System.nanoTime() - begin));
  }

  /**
   * Runs it and insists on exit status 0.
   *
   * @throws ForkdException as {@link #run}; FAILED_PRECONDITION with the command, its status and
   *     the end of its output if the status is another
   */
  public static ProcessResult check(Command command) {
    ProcessResult result = run(command);
    if (!result.succeeded()) {
      throw failure(command, result);
    }
    return result;
  }

  /** What {@link #check} throws for a result that is a failure. */
  public static ForkdException failure(Command command, ProcessResult result) {
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION,
        "'"
            + command.display()
            + "' failed with exit status "
            + result.exitStatus()
            + quote(result.stdout(), result.stderr())
            + advice(command),
        Map.of("program", command.program(), "exit_status", String.valueOf(result.exitStatus())),
        null);
  }

  private static Process start(Command command) {
    // The JDK looks programs up in the PATH it was started with, which for most users lacks the
    // folders mke2fs and its like are in: look it up here.
    List<String> arguments = new ArrayList<>(command.arguments());
    Programs.find(command.program()).ifPresent(path -> arguments.set(0, path.toString()));
    ProcessBuilder builder = new ProcessBuilder(arguments);
    builder.redirectInput(new File("/dev/null"));
    command.directory().ifPresent(folder -> builder.directory(folder.toFile()));
    command.stdoutFile().ifPresent(file -> builder.redirectOutput(file.toFile()));
    // Messages of tools are parsed and quoted: they must not depend on the user's language.
    builder.environment().put("LC_ALL", "C.UTF-8");
    builder.environment().put("PATH", Programs.path());
    builder.environment().putAll(command.environment());
    try {
      return builder.start();
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "cannot start '"
              + command.display()
              + "': "
              + e.getMessage()
              + "; install the package it is in (./forkd doctor names those that are missing)"
              + advice(command),
          e);
    }
  }

  private static void pump(
      InputStream from, TailBuffer into, Command command, CountDownLatch drained) {
    Thread.ofVirtual()
        .name("output of " + command.program())
        .start(() -> {
          LineSplitter lines = new LineSplitter(command.lines());
          byte[] buffer = new byte[READ_BYTES];
          try (from) {
            for (int n = from.read(buffer); n >= 0; n = from.read(buffer)) {
              into.append(buffer, n);
              lines.append(buffer, n);
            }
          } catch (IOException _) {
            // The stream was closed under us because the program was killed or has ended.
          } finally {
            lines.end();
            drained.countDown();
          }
        });
  }

  private static void kill(Process process) {
    // Children first would let a parent start more; the list is taken before anything dies.
    List<ProcessHandle> descendants = process.descendants().toList();
    process.destroyForcibly();
    descendants.forEach(ProcessHandle::destroyForcibly);
  }

  private static void closeQuietly(InputStream stream) {
    try {
      stream.close();
    } catch (IOException _) {
      // Nothing was buffered that could be lost.
    }
  }

  private static String advice(Command command) {
    return command.advice().isEmpty() ? "" : "; " + command.advice();
  }

  private static String quote(TailBuffer stdout, TailBuffer stderr) {
    return quote(stdout.text(), stderr.text());
  }

  private static String quote(String stdout, String stderr) {
    String text = stderr.isBlank() ? stdout.strip() : stderr.strip();
    if (text.isEmpty()) {
      return " and printed nothing";
    }
    List<String> lines = text.lines().toList();
    return ": "
        + String.join(" | ", lines.subList(Math.max(0, lines.size() - QUOTED_LINES), lines.size()));
  }
}
