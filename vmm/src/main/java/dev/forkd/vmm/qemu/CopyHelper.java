package dev.forkd.vmm.qemu;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * The program {@code vmfork} at work on one process: one line asks, one line answers. It is a
 * program of its own because ptrace(2) belongs to a thread, and because whatever happens to it the
 * kernel lets go of what it traces.
 */
final class CopyHelper implements AutoCloseable {
  /** The helper itself gives up on a process that does not come to rest after two seconds. */
  private static final Duration TIMEOUT = Duration.ofSeconds(15);

  private static final Duration END_TIMEOUT = Duration.ofSeconds(5);

  private final String who;
  private final Process process;
  private final OutputStream commands;
  private final BufferedReader answers;

  private CopyHelper(String who, Process process) {
    this.who = who;
    this.process = process;
    this.commands = process.getOutputStream();
    this.answers = process.inputReader(StandardCharsets.UTF_8);
  }

  static CopyHelper start(Path program, String who, int pid, boolean owned) {
    List<String> command =
        owned
            ? List.of(program.toString(), Integer.toString(pid), "owned")
            : List.of(program.toString(), Integer.toString(pid));
    try {
      return new CopyHelper(
          who, new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start());
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.UNIMPLEMENTED, "cannot start " + program + ": " + e.getMessage(), e);
    }
  }

  /** Asks; returns the pid the answer names, or 0. */
  int ask(List<String> words) {
    String line = String.join("\t", words) + "\n";
    CompletableFuture<String> answer = new CompletableFuture<>();
    // A read from a pipe sits in a native call; the helper answers within milliseconds.
    Threads.platform(
        "vmfork-" + who,
        () -> {
          try {
            commands.write(line.getBytes(StandardCharsets.UTF_8));
            commands.flush();
            String said = answers.readLine();
            answer.complete(said == null ? "error\tthe helper has ended" : said);
          } catch (IOException e) {
            answer.complete("error\t" + e.getMessage());
          }
        });
    String[] said = await(words.getFirst(), answer).split("\t");
    if (said.length < 2 || !said[0].equals("ok")) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE,
          "copying the process of "
              + who
              + ", "
              + words.getFirst()
              + ": "
              + (said.length < 2 ? "no answer" : said[1]));
    }
    return Integer.parseInt(said[1]);
  }

  private String await(String what, CompletableFuture<String> answer) {
    try {
      return answer.get(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
    } catch (TimeoutException e) {
      process.destroyForcibly();
      throw new ForkdException(
          ErrorCode.DEADLINE_EXCEEDED,
          "copying the process of "
              + who
              + ": no answer to '"
              + what
              + "' within "
              + TIMEOUT.toSeconds()
              + " s",
          e);
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while copying " + who, e);
    } catch (ExecutionException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "copying " + who, e.getCause());
    }
  }

  /** The end of its input makes it let go and end. */
  @Override
  public void close() {
    try {
      commands.close();
    } catch (IOException e) {
      // It has ended already.
      process.destroyForcibly();
    }
    try {
      if (!process.waitFor(END_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)) {
        process.destroyForcibly();
      }
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
    }
  }
}
