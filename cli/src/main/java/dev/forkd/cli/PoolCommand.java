package dev.forkd.cli;

import dev.forkd.api.rest.PoolInfo;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Snapshot;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Shows and sets pools of children that are forked ahead. */
@Command(name = "pool", description = "keep children ready, so that a fork is quick; or list them")
final class PoolCommand extends DaemonCommand {
  @Parameters(arity = "0..1", paramLabel = "TAG", description = "whose pool; all when left out")
  private Optional<String> tag = Optional.empty();

  @Option(
      names = "--size",
      paramLabel = "N",
      description = "children to keep ready, 0 to 1000; 0 switches it off")
  private Optional<Integer> size = Optional.empty();

  @Option(names = "--prewarm", description = "let each work once before it is handed out")
  private boolean prewarm;

  @Option(names = "--json", description = "print as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    if (tag.isEmpty() && (size.isPresent() || prewarm)) {
      throw usage("--size and --prewarm need a TAG");
    }
    if (prewarm && size.isEmpty()) {
      throw usage("--prewarm needs --size");
    }
    List<PoolInfo> pools = tag.map(name -> List.of(one(forkd, name))).orElseGet(forkd::pools);
    if (json) {
      printJson(pools);
    } else {
      out().print(render(pools));
    }
    return 0;
  }

  private PoolInfo one(Forkd forkd, String name) {
    Snapshot snapshot = forkd.snapshot(name);
    return size.isPresent() ? snapshot.setPool(size.get(), prewarm) : snapshot.pool();
  }

  static String render(List<PoolInfo> pools) {
    Table table = new Table("TAG", ">SIZE", ">READY", ">STARTING", "PREWARMED");
    for (PoolInfo pool : pools) {
      table.row(
          pool.tag(),
          Integer.toString(pool.size()),
          Integer.toString(pool.ready()),
          Integer.toString(pool.starting()),
          pool.prewarm() ? "yes" : "no");
    }
    return table.render();
  }
}
