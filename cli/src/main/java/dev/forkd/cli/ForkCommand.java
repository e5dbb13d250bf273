package dev.forkd.cli;

import dev.forkd.api.rest.ChildResult;
import dev.forkd.api.rest.CreateSandboxes;
import dev.forkd.api.rest.SandboxInfo;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Forks children from a snapshot. */
@Command(name = "fork", description = "fork children from a template or snapshot")
final class ForkCommand extends ApiCommand {
  @Parameters(index = "0", arity = "0..1", paramLabel = "TAG", description = "what to fork from")
  private String positionalTag = "";

  @Option(names = "--tag", paramLabel = "TAG", description = "the same as an option")
  private String tag = "";

  @Option(names = "-n", paramLabel = "N", description = "how many, 1 to 1000 (1)")
  private int count = 1;

  @Option(
      names = "--memory-limit-mib",
      paramLabel = "MIB",
      description = "most host memory a child may take")
  private long memoryLimitMib;

  @Option(names = "--per-child-netns", description = "a network namespace for each")
  private boolean perChildNetns;

  @Option(names = "--prewarm", description = "touch memory and verify before handing out")
  private boolean prewarm;

  @Option(names = "--certify", description = "verify every child before handing out")
  private boolean certify;

  @Option(names = "--partial", description = "keep those that started when others fail")
  private boolean partial;

  @Option(names = "--min-isolation", paramLabel = "TIER", description = "kvm refuses emulation")
  private String minIsolation = "";

  @Option(names = "--json", description = "print the sandboxes as JSON")
  private boolean json;

  @Override
  int run(Api api) {
    String from = tag.isEmpty() ? positionalTag : tag;
    if (from.isEmpty() || (!tag.isEmpty() && !positionalTag.isEmpty())) {
      throw usage("name one snapshot: forkd fork TAG");
    }
    List<ChildResult> children =
        api.fork(
            new CreateSandboxes(
                from,
                OptionalLong.of(count),
                perChildNetns,
                memoryLimitMib == 0 ? OptionalLong.empty() : OptionalLong.of(memoryLimitMib),
                prewarm,
                partial,
                certify,
                minIsolation.isEmpty() ? Optional.empty() : Optional.of(minIsolation)));
    boolean allWell = children.stream().allMatch(child -> child.sandbox().isPresent());
    if (json) {
      printJson(partial ? children : children.stream().flatMap(c -> c.sandbox().stream()).toList());
    } else {
      children.forEach(this::print);
    }
    return allWell ? 0 : Main.FAILURE;
  }

  private void print(ChildResult child) {
    if (child.sandbox().isPresent()) {
      SandboxInfo sandbox = child.sandbox().get();
      out().println(sandbox.id());
    } else {
      err().println("✗ " + child.error().orElse("no reason given"));
    }
  }
}
