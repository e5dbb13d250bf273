package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.api.rest.CertificateInfo;
import dev.forkd.api.rest.EvalResponse;
import dev.forkd.api.rest.ExecResponse;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.sdk.Command;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.Snapshot;
import dev.forkd.sdk.TemplateRecipe;
import java.io.PrintWriter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.Set;
import java.util.function.Supplier;

/**
 * The tour: a template, children that are nobody's twins, one of them branched while it runs,
 * grandchildren that go on from its memory and its disk and then go their own ways. What it checks
 * it checks for real: anything unexpected ends it with an error. Children and branch are removed
 * whatever happens.
 */
final class Quickstart {
  private static final String CODE = "numpy.zeros(5).tolist()";
  private static final String ZEROS = "[0.0, 0.0, 0.0, 0.0, 0.0]";
  private static final int GRANDCHILDREN = 3;
  private static final Duration EVAL_TIMEOUT = Duration.ofSeconds(60);
  private static final Duration EXEC_TIMEOUT = Duration.ofSeconds(60);

  private final int children;
  private final PrintWriter out;
  private final PrintWriter err;
  private final List<Step> steps = new ArrayList<>();
  private final List<Sandbox> sandboxes = new ArrayList<>();
  private final List<Snapshot> branches = new ArrayList<>();

  /**
   * One step that was done, for programs.
   *
   * @param memory for people; empty where there is nothing to say
   */
  record Step(String name, double millis, String memory) {}

  /** What a step gave, and what to say about memory. */
  record Done<T>(T value, String memory) {}

  Quickstart(int children, PrintWriter out, PrintWriter err) {
    this.children = children;
    this.out = out;
    this.err = err;
  }

  /** Does one step, says so, and notes its time for the table. */
  <T> T step(String name, Supplier<Done<T>> work) {
    err.println("==> " + name);
    err.flush();
    long begin = System.nanoTime();
    Done<T> done = work.get();
    steps.add(new Step(name, (System.nanoTime() - begin) / 1e6, done.memory()));
    return done.value();
  }

  /** What was done so far, in order. */
  List<Step> steps() {
    return List.copyOf(steps);
  }

  void run(Forkd forkd) {
    Snapshot template = step("template " + KnownTemplate.PYTHON.tag(), () -> template(forkd));
    try {
      tour(forkd, template);
    } catch (RuntimeException | Error e) {
      removeQuietly();
      throw e;
    }
    step("remove children and branch", this::remove);
    out.println();
    Table table = new Table("STEP", ">TIME", "MEMORY");
    for (Step step : steps) {
      Duration taken = Duration.ofNanos((long) (step.millis() * 1e6));
      table.row(step.name(), Format.duration(taken), step.memory());
    }
    out.print(table.render());
    out.println();
    out.println("The template '" + template.tag() + "' stays. Next:");
    out.println("  ./forkd fork " + template.tag() + "        prints the id of a new sandbox");
    out.println("  ./forkd eval ID 'numpy.arange(3)'");
    out.println("  ./forkd exec ID -- uname -a");
    out.println("  ./forkd branch ID mytag    then: ./forkd fork mytag -n 3; ./forkd tree");
  }

  private void tour(Forkd forkd, Snapshot template) {
    List<Sandbox> born = step("fork " + children + " children", () -> fork(template, children));
    step("eval " + CODE + " in each", () -> evalInEach(born));
    step("verify that no two are twins", () -> verify(born));
    Sandbox source = born.getFirst();
    step("state in memory and on disk of " + source.id(), () -> leaveState(source));
    Snapshot branch = step("branch it while it runs", () -> branch(source));
    List<Sandbox> grand =
        step("fork " + GRANDCHILDREN + " grandchildren", () -> fork(branch, GRANDCHILDREN));
    step("they have its memory and its disk", () -> inherited(grand));
    step("they diverge", () -> diverge(source, grand));
    out.println();
    lineage(forkd, template).forEach(out::println);
  }

  private Done<Snapshot> template(Forkd forkd) {
    Snapshot made;
    try {
      made =
          forkd.buildTemplate(
              KnownTemplate.PYTHON.tag().value(),
              TemplateRecipe.of(KnownTemplate.PYTHON),
              line -> err.println("    " + line));
    } catch (ForkdApiException e) {
      if (e.code() != ErrorCode.ALREADY_EXISTS) {
        throw e;
      }
      made = madeDifferently(forkd, e);
    }
    return new Done<>(
        made,
        made.info().memoryMib()
            + " MiB guest, "
            + Format.bytes(made.info().memoryBytes())
            + " stored");
  }

  /**
   * One that was made to a recipe of its user's or of an earlier forkd. It is not ours to replace,
   * and the tour needs no more than a template with numpy.
   */
  private Snapshot madeDifferently(Forkd forkd, ForkdApiException refusal) {
    Snapshot there = forkd.snapshot(KnownTemplate.PYTHON.tag().value());
    if (!there.info().template() || !there.info().bootable()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "quickstart needs a template '"
              + there.tag()
              + "', and what has that name is none that can be forked: remove it (forkd rmi "
              + there.tag()
              + ") or replace it (forkd template build "
              + there.tag()
              + " --replace)",
          refusal);
    }
    err.println("    template '" + there.tag() + "' is there already, made differently");
    return there;
  }

  private Done<List<Sandbox>> fork(Snapshot from, int count) {
    List<Sandbox> born = from.fork(count);
    sandboxes.addAll(born);
    expect(born.size() == count, "forked " + born.size() + " of " + count + " children");
    return new Done<>(born, "");
  }

  private Done<Integer> evalInEach(List<Sandbox> born) {
    for (Sandbox child : born) {
      String result = eval(child, CODE);
      expect(result.equals(ZEROS), CODE + " in " + child.id() + " gave " + result);
      out.println("  " + child.id() + "  " + CODE + " = " + result);
    }
    return new Done<>(born.size(), memory(born));
  }

  private static Done<Integer> verify(List<Sandbox> born) {
    Set<String> random = new HashSet<>();
    Set<String> names = new HashSet<>();
    for (Sandbox child : born) {
      CertificateInfo proof =
          child
              .refresh()
              .certificate()
              .orElseThrow(
                  () -> new ForkdException(ErrorCode.INTERNAL, child.id() + " has no certificate"));
      expect(
          proof.state().equals("verified"),
          "the certificate of " + child.id() + " is " + proof.state() + proof.failure().orElse(""));
      random.add(proof.randomSha256().orElse(""));
      names.add(proof.hostname().orElse(""));
    }
    expect(random.size() == born.size(), "two children drew the same random bytes");
    expect(names.size() == born.size(), "two children have the same host name");
    return new Done<>(born.size(), "");
  }

  private static Done<Integer> leaveState(Sandbox source) {
    eval(source, "kept = {'answer': 42, 'numbers': numpy.arange(1_000_000)}");
    exec(source, "echo written before the branch > /root/note; sync");
    return new Done<>(1, memory(List.of(source)));
  }

  private Done<Snapshot> branch(Sandbox source) {
    Snapshot made = source.branch("quickstart-" + Long.toHexString(System.currentTimeMillis()));
    branches.add(made);
    return new Done<>(
        made,
        "paused "
            + made.info().pauseMs().orElse(0)
            + " ms, "
            + Format.bytes(made.info().diffPhysicalBytes().orElse(0))
            + " diverged");
  }

  private Done<Integer> inherited(List<Sandbox> grand) {
    for (Sandbox child : grand) {
      String memory = eval(child, "kept['answer'], int(kept['numbers'].sum())");
      String disk = exec(child, "cat /root/note");
      expect(memory.equals("(42, 499999500000)"), "memory of " + child + " says " + memory);
      expect(disk.equals("written before the branch\n"), "disk of " + child + " says " + disk);
      out.println("  " + child.id() + "  memory: kept = " + memory + "   disk: " + disk.strip());
    }
    return new Done<>(grand.size(), memory(grand));
  }

  private Done<Integer> diverge(Sandbox source, List<Sandbox> grand) {
    for (int i = 0; i < grand.size(); i++) {
      eval(grand.get(i), "kept['answer'] = " + (100 + i));
      exec(grand.get(i), "echo grandchild " + i + " > /root/note");
    }
    exec(source, "echo written after the branch > /root/note");
    for (int i = 0; i < grand.size(); i++) {
      Sandbox child = grand.get(i);
      String answer = eval(child, "kept['answer']");
      String disk = exec(child, "cat /root/note");
      expect(answer.equals("" + (100 + i)), "memory of " + child + " says " + answer);
      expect(disk.equals("grandchild " + i + "\n"), "disk of " + child + " says " + disk);
      out.println("  " + child.id() + "  memory: " + answer + "   disk: " + disk.strip());
    }
    String own = eval(source, "kept['answer']");
    expect(own.equals("42"), "the source's memory changed to " + own);
    return new Done<>(grand.size(), memory(grand));
  }

  /** Only what this tour made: others may use the daemon as well. */
  private List<String> lineage(Forkd forkd, Snapshot template) {
    Set<String> tags = new HashSet<>(Set.of(template.tag()));
    branches.forEach(branch -> tags.add(branch.tag()));
    return LineageTree.render(
        TreeCommand.nodes(
            forkd.snapshots().stream()
                .map(Snapshot::info)
                .filter(snapshot -> tags.contains(snapshot.tag()))
                .toList(),
            Sandboxes.of(sandboxes)));
  }

  private Done<Integer> remove() {
    int removed = sandboxes.size() + branches.size();
    while (!sandboxes.isEmpty()) {
      sandboxes.getLast().kill();
      sandboxes.removeLast();
    }
    while (!branches.isEmpty()) {
      branches.getLast().delete();
      branches.removeLast();
    }
    return new Done<>(removed, "");
  }

  /** After a failure: the failure is what counts, but what could not be removed is named. */
  private void removeQuietly() {
    for (Sandbox sandbox : sandboxes) {
      try {
        sandbox.close();
      } catch (ForkdException e) {
        err.println("⚠ " + sandbox + " stays: " + e.message());
      }
    }
    for (Snapshot branch : branches) {
      try {
        branch.delete();
      } catch (ForkdException e) {
        err.println("⚠ " + branch + " stays: " + e.message());
      }
    }
  }

  private static String eval(Sandbox sandbox, String code) {
    EvalResponse answer = sandbox.eval(code, EVAL_TIMEOUT);
    if (answer.error().isPresent()) {
      throw new ForkdException(
          ErrorCode.INTERNAL, "'" + code + "' in " + sandbox + " raised " + answer.error().get());
    }
    return answer.result().orElse("None");
  }

  private static String exec(Sandbox sandbox, String shell) {
    ExecResponse done = sandbox.exec(Command.shell(shell).timeout(EXEC_TIMEOUT));
    expect(
        done.exitCode() == 0,
        "'" + shell + "' in " + sandbox + " ended with " + done.exitCode() + " " + done.stderr());
    return done.stdout();
  }

  /** Mean per child: guest pages of its own, and its whole VMM process with its share of others. */
  private static String memory(List<Sandbox> some) {
    long own = 0;
    long pss = 0;
    boolean readable = true;
    for (Sandbox each : some) {
      SandboxInfo sandbox = each.refresh();
      own += sandbox.divergedBytes().orElse(0);
      OptionalLong process =
          sandbox.pid().isPresent()
              ? ProcessUse.pssBytes(sandbox.pid().getAsInt())
              : OptionalLong.empty();
      readable &= process.isPresent();
      pss += process.orElse(0);
    }
    String text = mib(own, some.size()) + " of its own" + (some.size() > 1 ? " each" : "");
    return readable ? text + ", " + mib(pss, some.size()) + " with its share (PSS)" : text;
  }

  private static String mib(long bytes, int count) {
    return String.format(Locale.ROOT, "%.1f MiB", bytes / (double) count / (1 << 20));
  }

  private static void expect(boolean truth, String otherwise) {
    if (!truth) {
      throw new ForkdException(ErrorCode.INTERNAL, "quickstart stopped: " + otherwise);
    }
  }
}
