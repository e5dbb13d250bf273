package dev.forkd.cli;

import dev.forkd.api.DefaultTemplate;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.sdk.BranchOptions;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.Snapshot;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Measures the daemon as a client sees it; leaves nothing behind. */
@Command(
    name = "bench",
    description = "measure fork to first eval, exec, eval and the branch pause; median and p90")
final class BenchCommand extends DaemonCommand {
  private static final Duration EVAL_TIMEOUT = Duration.ofSeconds(30);
  private static final String FORK = "fork to first eval";
  private static final String EVAL = "second eval in the same child";
  private static final String EXEC = "exec true";
  private static final String BRANCH = "branch diff, whole request";
  private static final String PAUSE = "branch diff, pause of the source";
  private static final String LARGE = "branch diff, pause with 40 MiB diverged";
  private static final String LIVE = "branch live, pause with 40 MiB diverged";
  private static final String BALLAST = "ballast = bytearray(b'x') * (40 << 20)";

  @Option(names = "--tag", paramLabel = "TAG", description = "fork from this (${DEFAULT-VALUE})")
  private String tag = DefaultTemplate.TAG.value();

  @Option(names = "-n", paramLabel = "N", description = "rounds, 1 to 1000 (${DEFAULT-VALUE})")
  private int rounds = 5;

  @Option(
      names = "--fan-out",
      paramLabel = "N",
      description = "also fork N children at once and evaluate once in each; 0 does not")
  private int fanOut;

  @Option(
      names = "--pool",
      description = "also fork out of a pool as large as -n or --fan-out, cold and prewarmed")
  private boolean pool;

  @Option(names = "--code", paramLabel = "CODE", description = "what is evaluated")
  private String code = "numpy.zeros(5).tolist()";

  @Option(names = "--json", description = "print the medians in milliseconds as JSON")
  private boolean json;

  /** What {@code --json} prints. */
  record Answer(
      int rounds,
      Map<String, Double> medianMillis,
      Optional<FanOut> fanOut,
      Optional<FanOut> pooledFanOut) {}

  @Override
  int run(Forkd forkd) {
    if (rounds < 1 || rounds > 1000) {
      throw usage("-n " + rounds + " is not between 1 and 1000");
    }
    if (fanOut < 0 || fanOut > 1000) {
      throw usage("--fan-out " + fanOut + " is not between 0 and 1000");
    }
    Map<String, double[]> all = new LinkedHashMap<>();
    for (String name : List.of(FORK, EVAL, EXEC, BRANCH, PAUSE, LARGE, LIVE)) {
      all.put(name, new double[rounds]);
    }
    for (int round = 0; round < rounds; round++) {
      err().println("==> round " + (round + 1) + " of " + rounds);
      round(forkd, round, all);
    }
    Optional<FanOut> many = Optional.empty();
    if (fanOut > 0) {
      err().println("==> " + fanOut + " at once");
      many = Optional.of(FanOut.measure(forkd, tag, fanOut, code));
    }
    Optional<FanOut> pooled = Optional.empty();
    if (pool) {
      err().println("==> out of a pool");
      pooled = new PoolBench(forkd, tag, code).measure(rounds, fanOut, all);
    }
    if (json) {
      Map<String, Double> medians = new LinkedHashMap<>();
      all.forEach((name, millis) -> medians.put(name, new Series(millis).median()));
      printJson(new Answer(rounds, medians, many, pooled));
    } else {
      out().print(render(all));
      many.ifPresent(result ->
          result.lines().forEach((name, value) -> out().printf("%-36s%s%n", name, value)));
      pooled.ifPresent(result -> {
        out().println("out of a prewarmed pool:");
        result.lines().forEach((name, value) -> out().printf("%-36s%s%n", name, value));
      });
    }
    return 0;
  }

  static String render(Map<String, double[]> all) {
    Table table = new Table("WHAT", ">MEDIAN", ">P90", ">LEAST", ">MOST");
    all.forEach((name, millis) -> {
      Series series = new Series(millis);
      table.row(
          name,
          Series.show(series.median()),
          Series.show(series.p90()),
          Series.show(series.least()),
          Series.show(series.most()));
    });
    return table.render();
  }

  private void round(Forkd forkd, int round, Map<String, double[]> all) {
    long begin = System.nanoTime();
    try (Sandbox child = forkd.fork(tag)) {
      child.eval(code, EVAL_TIMEOUT);
      put(all, FORK, round, begin);
      begin = System.nanoTime();
      child.eval(code, EVAL_TIMEOUT);
      put(all, EVAL, round, begin);
      begin = System.nanoTime();
      child.exec("true");
      put(all, EXEC, round, begin);
      begin = System.nanoTime();
      Snapshot branch = child.branch(BranchOptions.diff());
      put(all, BRANCH, round, begin);
      branch.delete();
      series(all, PAUSE)[round] = branch.info().pauseMs().orElseThrow();
      child.eval(BALLAST, EVAL_TIMEOUT);
      branch = child.branch(BranchOptions.diff());
      branch.delete();
      series(all, LARGE)[round] = branch.info().pauseMs().orElseThrow();
      if (all.containsKey(LIVE)) {
        live(child, round, all);
      }
    }
  }

  /** Where the host or the monitor cannot do it, the series is left out. */
  private static void live(Sandbox child, int round, Map<String, double[]> all) {
    try {
      Snapshot branch = child.branch(BranchOptions.live());
      branch.delete();
      series(all, LIVE)[round] = branch.info().pauseMs().orElseThrow();
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.UNIMPLEMENTED) {
        throw e;
      }
      all.remove(LIVE);
    }
  }

  private static void put(Map<String, double[]> all, String name, int round, long begin) {
    series(all, name)[round] = (System.nanoTime() - begin) / 1e6;
  }

  private static double[] series(Map<String, double[]> all, String name) {
    return all.getOrDefault(name, new double[0]);
  }
}
