package dev.forkd.cli;

import dev.forkd.api.rest.EvalResponse;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Evaluates code in a guest's warm interpreter, wherever that is found. */
abstract class GuestEval extends DaemonCommand {
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

  /** Where it is evaluated. */
  abstract Sandbox sandbox(Forkd forkd);

  @Override
  final int run(Forkd forkd) throws IOException {
    String code =
        words.equals(List.of("-"))
            ? new String(System.in.readAllBytes(), StandardCharsets.UTF_8)
            : String.join(" ", words);
    EvalResponse answer = sandbox(forkd).eval(code, Duration.ofSeconds(timeoutSecs));
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
