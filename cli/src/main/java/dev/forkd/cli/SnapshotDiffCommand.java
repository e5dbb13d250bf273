package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.sdk.BranchOptions;
import dev.forkd.sdk.ExitStatus;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.OutputListener;
import dev.forkd.sdk.RunningCommand;
import dev.forkd.sdk.Sandbox;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Adds a link to a chain: forks a child, runs one command in it, saves what that changed. */
@Command(
    name = "snapshot-diff",
    description = "run a command in a child of a snapshot and save what it changed as a link")
final class SnapshotDiffCommand extends DaemonCommand {
  private static final Duration READY_TIMEOUT = Duration.ofSeconds(30);
  private static final Duration FIRST_WAIT = Duration.ofMillis(100);
  private static final Duration LONGEST_WAIT = Duration.ofSeconds(2);
  private static final long MAX_TIMEOUT_SECS = 86_400;

  @Option(names = "--from", required = true, paramLabel = "TAG", description = "the parent")
  private String from = "";

  @Option(names = "--tag", required = true, paramLabel = "NEW", description = "the new snapshot")
  private String tag = "";

  @Option(
      names = "--exec",
      required = true,
      paramLabel = "COMMAND",
      description = "what to run; quotes group words, sh -c '...' for a shell")
  private String exec = "";

  @Option(
      names = "--exec-timeout-secs",
      paramLabel = "N",
      description = "end it after this long (600)")
  private long execTimeoutSecs = 600;

  @Option(names = "--json", description = "print the snapshot as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) throws InterruptedException {
    List<String> words =
        Words.split(exec).orElseThrow(() -> usage("--exec: a quote is not closed: " + exec));
    if (words.isEmpty()) {
      throw usage("--exec: which command?");
    }
    if (execTimeoutSecs < 1 || execTimeoutSecs > MAX_TIMEOUT_SECS) {
      throw usage("--exec-timeout-secs must be 1 to " + MAX_TIMEOUT_SECS);
    }
    SnapshotInfo link;
    try (Sandbox sandbox = forkd.fork(from);
        AtExit _ = new AtExit(sandbox::close)) {
      err().println("==> sandbox " + sandbox.id() + " of " + from);
      awaitReady(sandbox);
      err().println("==> " + exec);
      runIn(sandbox, words);
      link = sandbox.branch(BranchOptions.diff().tag(tag).withParent()).info();
    }
    if (json) {
      printJson(link);
    } else {
      print(link);
    }
    return 0;
  }

  /** A request that is wrong stays wrong; a guest that does not answer yet may. */
  private static void awaitReady(Sandbox sandbox) throws InterruptedException {
    long deadline = System.nanoTime() + READY_TIMEOUT.toNanos();
    Duration wait = FIRST_WAIT;
    while (true) {
      try {
        sandbox.ping();
        return;
      } catch (ForkdApiException e) {
        if (e.status() < 500 || System.nanoTime() + wait.toNanos() > deadline) {
          throw e;
        }
      }
      Thread.sleep(wait);
      wait = wait.multipliedBy(2).compareTo(LONGEST_WAIT) > 0 ? LONGEST_WAIT : wait.multipliedBy(2);
    }
  }

  private void runIn(Sandbox sandbox, List<String> words) {
    dev.forkd.sdk.Command command =
        dev.forkd.sdk.Command.of(words).timeout(Duration.ofSeconds(execTimeoutSecs));
    try (RunningCommand running = sandbox.start(command, new Progress(err()))) {
      ExitStatus status = running.await();
      if (status.timedOut()) {
        throw new ForkdException(
            ErrorCode.DEADLINE_EXCEEDED,
            "'" + exec + "' did not end within " + execTimeoutSecs + " s; nothing was saved");
      }
      if (status.exitCode() != 0) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION,
            "'" + exec + "' ended with status " + status.exitCode() + "; nothing was saved");
      }
    }
  }

  /** Standard output is kept for the result. */
  private record Progress(PrintWriter err) implements OutputListener {
    @Override
    public void stdout(byte[] chunk) {
      stderr(chunk);
    }

    @Override
    public void stderr(byte[] chunk) {
      err.print(new String(chunk, StandardCharsets.UTF_8));
      err.flush();
    }
  }

  private void print(SnapshotInfo link) {
    out().println("tag: " + link.tag());
    out().println("dir: " + link.dir());
    out().println("parent_tag: " + link.parentTag().orElse(from));
    link.pauseMs().ifPresent(ms -> out().println("pause_ms: " + ms));
    link.diffPhysicalBytes().ifPresent(bytes -> out().println("diff_physical_bytes: " + bytes));
  }
}
