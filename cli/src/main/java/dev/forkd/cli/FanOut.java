package dev.forkd.cli;

import dev.forkd.api.Threads;
import dev.forkd.api.rest.EvalResponse;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.sdk.ForkOptions;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;

/**
 * Many children at once: how long it takes until each has evaluated something, and what each takes.
 *
 * @param wallMillis from the request to the last child's answer
 * @param forkMillis of it until all children were handed out
 * @param answered children that answered without an exception
 * @param verified children whose certificate is good
 * @param pssMib median, the VMM's process with its share of shared pages
 * @param ownMib median of guest memory that is a child's own
 * @param cpuMillis median of the CPU time of a child's VMM
 */
record FanOut(
    int children,
    double wallMillis,
    double forkMillis,
    int answered,
    int verified,
    double pssMib,
    double ownMib,
    double cpuMillis) {
  private static final Duration EVAL_TIMEOUT = Duration.ofSeconds(60);
  private static final double MIB = 1 << 20;

  static FanOut measure(Forkd forkd, String tag, int children, String code) {
    long begin = System.nanoTime();
    List<Sandbox> born = forkd.fork(tag, ForkOptions.of(children));
    double forkMillis = (System.nanoTime() - begin) / 1e6;
    try {
      int answered = evalInAll(born, code);
      double wallMillis = (System.nanoTime() - begin) / 1e6;
      int verified = 0;
      List<Double> pss = new ArrayList<>();
      List<Double> own = new ArrayList<>();
      List<Double> cpu = new ArrayList<>();
      for (Sandbox child : born) {
        SandboxInfo info = child.refresh();
        verified +=
            info.certificate().filter(c -> c.state().equals("verified")).isPresent() ? 1 : 0;
        own.add(info.divergedBytes().orElse(0) / MIB);
        int pid = info.pid().orElse(0);
        pss.add(ProcessUse.pssBytes(pid).orElse(0) / MIB);
        cpu.add(ProcessUse.cpuMillis(pid).orElse(0));
      }
      return new FanOut(
          children,
          wallMillis,
          forkMillis,
          answered,
          verified,
          median(pss),
          median(own),
          median(cpu));
    } finally {
      born.forEach(Sandbox::close);
    }
  }

  /**
   * Asks all at once, as a fan-out does; the daemon decides how many run. Returns the right ones.
   */
  private static int evalInAll(List<Sandbox> children, String code) {
    List<Future<EvalResponse>> answers;
    try (ExecutorService all = Threads.virtualExecutor("fan-out")) {
      answers = children.stream().map(c -> all.submit(() -> c.eval(code, EVAL_TIMEOUT))).toList();
    }
    return (int)
        answers.stream()
            .filter(answer -> answer.state() == Future.State.SUCCESS)
            .filter(answer -> answer.resultNow().error().isEmpty())
            .count();
  }

  private static double median(List<Double> values) {
    return new Series(values.stream().mapToDouble(Double::doubleValue).toArray()).median();
  }

  /** What people read, in order. */
  Map<String, String> lines() {
    Map<String, String> lines = new LinkedHashMap<>();
    lines.put(children + " forked and one eval in each", Series.show(wallMillis));
    lines.put("  of it the fork", Series.show(forkMillis));
    lines.put("  answered, verified", answered + ", " + verified + " of " + children);
    lines.put("  PSS of a child's process, median", String.format("%.1f MiB", pssMib));
    lines.put("  guest memory of its own, median", String.format("%.1f MiB", ownMib));
    lines.put("  CPU of a child's process, median", Series.show(cpuMillis));
    return lines;
  }
}
