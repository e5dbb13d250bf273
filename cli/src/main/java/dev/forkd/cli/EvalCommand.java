package dev.forkd.cli;

import dev.forkd.api.rest.EvalResponse;
import dev.forkd.sdk.Forkd;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Evaluates code in the warm interpreter. */
@Command(name = "eval", description = "evaluate code in a sandbox's warm interpreter")
final class EvalCommand extends DaemonCommand {
  @Parameters(index = "0", paramLabel = "ID", description = "the sandbox")
  private String id;

  @Parameters(
      index = "1..*",
      arity = "1..*",
      paramLabel = "CODE",
      description = "joined by blanks; - reads it from standard input")
  private List<String> words;

  @Option(
      names = "--timeout-secs",
      paramLabel = "N",
      description = "interrupt after this long (30)")
  private long timeoutSecs = 30;

  @Option(names = "--json", description = "print the answer as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) throws IOException {
    String code =
        words.equals(List.of("-"))
            ? new String(System.in.readAllBytes(), StandardCharsets.UTF_8)
            : String.join(" ", words);
    EvalResponse answer = forkd.sandbox(id).eval(code, Duration.ofSeconds(timeoutSecs));
    if (json) {
      printJson(answer);
    } else {
      out().print(answer.stdout());
      answer.result().filter(result -> !result.equals("None")).ifPresent(out()::println);
      answer.error().ifPresent(error -> err().println(answer.traceback().orElse(error)));
    }
    return answer.error().isPresent() ? Main.FAILURE : 0;
  }
}
