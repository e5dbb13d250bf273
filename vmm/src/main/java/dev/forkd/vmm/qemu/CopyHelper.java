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
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * The program {@code vmfork} at work on one process: one line asks, one line answers. It is a
 * program of its own because ptrace(2) belongs to a thread, and because whatever happens to it the
 * kernel lets go of what it traces.
 */
final class CopyHelper implements AutoCloseable {
  /** The helper itself gives up on a process that does not come to rest after two seconds. */
  private static final Duration TIMEOUT = Duration.ofSeconds(15);

  /** It says one line for each it is told, and one of ours says that it has ended. */
  private static final int MAX_UNHEARD = 4;

  private static final Duration END_TIMEOUT = Duration.ofSeconds(5);

  /** What it is at work on, for messages; nothing yet while it is kept ready. */
  private volatile String who = "a VM";

  private final Process process;
  private final OutputStream commands;

  /** What it says, read by a thread of its own: a read from a pipe sits in a native call. */
  private final BlockingQueue<String> answers = new LinkedBlockingQueue<>(MAX_UNHEARD);

  private CopyHelper(Process process) {
    this.process = process;
    this.commands = process.getOutputStream();
    Threads.platform("vmfork-" + process.pid(), this::listen);
  }

  /** Starts one that is not at work on any process yet. */
  static CopyHelper start(Path program) {
    try {
      return new CopyHelper(
          new ProcessBuilder(program.toString())
              .redirectError(ProcessBuilder.Redirect.DISCARD)
              .start());
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.UNIMPLEMENTED, "cannot start " + program + ": " + e.getMessage(), e);
    }
  }

  /**
   * Says which process it is about; once.
   *
   * @param owned the process ends with the helper
   * @param copied a helper made the process
   */
  void source(String name, int pid, boolean owned, boolean copied) {
    who = name;
    ask(
        List.of(
            "source",
            Integer.toString(pid),
            owned ? "owned" : "foreign",
            copied ? "copied" : "look"));
  }

  private void listen() {
    try (BufferedReader lines = process.inputReader(StandardCharsets.UTF_8)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        if (!answers.offer(line)) {
          process.destroyForcibly(); // it says more than it is asked
        }
      }
    } catch (IOException e) {
      process.destroyForcibly();
    }
    var _ = answers.offer("error\tthe helper has ended");
  }

  /** Asks; returns the pid the answer names, or 0. One at a time. */
  int ask(List<String> words) {
    try {
      commands.write((String.join("\t", words) + "\n").getBytes(StandardCharsets.UTF_8));
      commands.flush();
    } catch (IOException e) {
      throw failed(words.getFirst(), String.valueOf(e.getMessage()));
    }
    String[] said = await(words.getFirst()).split("\t");
    if (said.length < 2 || !said[0].equals("ok")) {
      throw failed(words.getFirst(), said.length < 2 ? "no answer" : said[1]);
    }
    return Integer.parseInt(said[1]);
  }

  private ForkdException failed(String what, String why) {
    return new ForkdException(
        ErrorCode.UNAVAILABLE, "copying the process of " + who + ", " + what + ": " + why);
  }

  private String await(String what) {
    try {
      String answer = answers.poll(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
      if (answer != null) {
        return answer;
      }
      process.destroyForcibly();
      throw new ForkdException(
          ErrorCode.DEADLINE_EXCEEDED,
          "copying the process of "
              + who
              + ": no answer to '"
              + what
              + "' within "
              + TIMEOUT.toSeconds()
              + " s");
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while copying " + who, e);
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
