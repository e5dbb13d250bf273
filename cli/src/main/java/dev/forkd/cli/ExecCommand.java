package dev.forkd.cli;

import dev.forkd.api.rest.ExecRequest;
import java.io.PrintStream;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Runs a command in a sandbox: its output as it comes, its status as ours. */
@Command(name = "exec", description = "run a command in a sandbox; exits with the command's status")
final class ExecCommand extends ApiCommand {
  private static final long DEFAULT_TIMEOUT_SECS = 30;
  private static final long INTERACTIVE_TIMEOUT_SECS = 86_400;

  @Parameters(index = "0", paramLabel = "ID", description = "the sandbox")
  private String id;

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
      description = "who runs it (root)")
  private String user = "";

  @Option(
      names = "--timeout-secs",
      paramLabel = "N",
      description = "end it after this long (30; a day with -i)")
  private long timeoutSecs;

  @Override
  int run(Api api) {
    long fallback = interactive ? INTERACTIVE_TIMEOUT_SECS : DEFAULT_TIMEOUT_SECS;
    ExecRequest request =
        new ExecRequest(
            command,
            OptionalLong.of(timeoutSecs > 0 ? timeoutSecs : fallback),
            env,
            cwd.isEmpty() ? Optional.empty() : Optional.of(cwd),
            user.isEmpty() ? Optional.empty() : Optional.of(user),
            Optional.empty(),
            Optional.empty(),
            false,
            interactive);
    return api.exec(id, request, System.in, new Streams(System.out, System.err));
  }

  /** The guest's bytes go out as they are. */
  private record Streams(PrintStream out, PrintStream err) implements Api.ExecOutput {
    @Override
    public void stdout(byte[] bytes) {
      out.writeBytes(bytes);
      out.flush();
    }

    @Override
    public void stderr(byte[] bytes) {
      err.writeBytes(bytes);
      err.flush();
    }
  }
}
