package dev.forkd.cli;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.OutputListener;
import dev.forkd.sdk.RunningCommand;
import dev.forkd.sdk.Sandbox;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * Runs a command in a guest, wherever that is found: its output as it comes, its status as ours.
 */
abstract class GuestExec extends DaemonCommand {
  private static final int STDIN_CHUNK_BYTES = 64 << 10;
  private static final long DEFAULT_TIMEOUT_SECS = 30;
  private static final long INTERACTIVE_TIMEOUT_SECS = 86_400;

  @Parameters(index = "1..*", arity = "1..*", paramLabel = "COMMAND", description = "what to run")
  private List<String> command;

  @Option(names = "-i", description = "pass our standard input on")
  private boolean interactive;

  @Option(
      names = {"-e", "--env"},
      paramLabel = "K=V",
      description = "set a variable; repeatable")
  private Map<String, String> env = Map.of();

  @Option(
      names = {"-w", "--cwd"},
      paramLabel = "DIR",
      description = "working directory")
  private String cwd = "";

  @Option(
      names = {"-u", "--user"},
      paramLabel = "USER",
      description = "USER, UID or USER:GROUP (the image's user, or root)")
  private String user = "";

  @Option(
      names = "--timeout-secs",
      paramLabel = "N",
      description = "end it after this long (30; a day with -i)")
  private long timeoutSecs;

  /** Where it runs. */
  abstract Sandbox sandbox(Forkd forkd);

  @Override
  final int run(Forkd forkd) {
    long fallback = interactive ? INTERACTIVE_TIMEOUT_SECS : DEFAULT_TIMEOUT_SECS;
    dev.forkd.sdk.Command what =
        new dev.forkd.sdk.Command(
            guestCommand(),
            env,
            cwd.isEmpty() ? Optional.empty() : Optional.of(cwd),
            user.isEmpty() ? Optional.empty() : Optional.of(user),
            new byte[0],
            Duration.ofSeconds(timeoutSecs > 0 ? timeoutSecs : fallback),
            false,
            interactive);
    Streams streams = new Streams(System.out, System.err);
    try (RunningCommand running = sandbox(forkd).start(what, streams)) {
      if (interactive) {
        Threads.virtual("forkd-stdin", () -> pump(System.in, running));
      }
      return running.await().exitCode();
    }
  }

  /** The first {@code --} is ours; options of ours behind it were meant to stand before it. */
  private List<String> guestCommand() {
    int separator = command.indexOf("--");
    if (separator == 0 && command.size() > 1) {
      return command.subList(1, command.size());
    }
    if (separator == 0 || (separator > 0 && command.getFirst().startsWith("-"))) {
      throw usage("options stand before the name of what the command runs in");
    }
    return command;
  }

  /** Ends by itself when the input ends or the command no longer takes any. */
  private static void pump(InputStream stdin, RunningCommand running) {
    byte[] buffer = new byte[STDIN_CHUNK_BYTES];
    try {
      for (int n = stdin.read(buffer); n >= 0; n = stdin.read(buffer)) {
        running.writeStdin(Arrays.copyOf(buffer, n));
      }
      running.closeStdin();
    } catch (IOException | ForkdException e) {
      // The command ended first, as `head` does: its status is what counts.
    }
  }

  /** The guest's bytes go out as they are. */
  private record Streams(PrintStream out, PrintStream err) implements OutputListener {
    @Override
    public void stdout(byte[] chunk) {
      out.writeBytes(chunk);
      out.flush();
    }

    @Override
    public void stderr(byte[] chunk) {
      err.writeBytes(chunk);
      err.flush();
    }
  }
}
