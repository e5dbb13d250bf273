package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.sdk.ForkOptions;
import dev.forkd.sdk.ForkOutcome;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Forks children from a snapshot. */
@Command(name = "fork", description = "fork children from a template or snapshot")
final class ForkCommand extends DaemonCommand {
  /** The tiers, weakest first. */
  enum Isolation {
    EMULATION,
    KVM
  }

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

  @Option(names = "--prewarm", description = "touch memory and verify before handing out")
  private boolean prewarm;

  @Option(names = "--certify", description = "verify every child before handing out")
  private boolean certify;

  @Option(names = "--partial", description = "keep those that started when others fail")
  private boolean partial;

  @Option(
      names = "--min-isolation",
      paramLabel = "TIER",
      description = "kvm refuses emulation; emulation takes what there is")
  private Isolation minIsolation = Isolation.EMULATION;

  @Option(names = "--json", description = "print the sandboxes as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    String from = tag.isEmpty() ? positionalTag : tag;
    if (from.isEmpty() || (!tag.isEmpty() && !positionalTag.isEmpty())) {
      throw usage("name one snapshot: forkd fork TAG");
    }
    ForkOptions how =
        new ForkOptions(
            count,
            memoryLimitMib == 0 ? OptionalLong.empty() : OptionalLong.of(memoryLimitMib),
            prewarm,
            certify,
            minIsolation == Isolation.KVM);
    List<ForkOutcome> children =
        partial
            ? forkd.snapshot(from).forkPartially(how)
            : forkd.fork(from, how).stream().<ForkOutcome>map(ForkOutcome.Started::new).toList();
    List<SandboxInfo> started = new ArrayList<>();
    for (ForkOutcome child : children) {
      switch (child) {
        case ForkOutcome.Started(Sandbox sandbox) -> started.add(sandbox.info());
        case ForkOutcome.Failed(ErrorCode code, String message) ->
            err().println("✗ " + message + " (" + code.wireName() + ")");
      }
    }
    if (json) {
      printJson(started);
    } else {
      started.forEach(sandbox -> out().println(sandbox.id()));
    }
    return started.size() == children.size() ? 0 : Main.FAILURE;
  }
}
