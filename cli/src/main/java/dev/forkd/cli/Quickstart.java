package dev.forkd.cli;

import dev.forkd.api.DefaultTemplate;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.CertificateInfo;
import dev.forkd.api.rest.ChildResult;
import dev.forkd.api.rest.CreateTemplate;
import dev.forkd.api.rest.EvalResponse;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SnapshotInfo;
import java.io.InputStream;
import java.io.PrintWriter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
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

  private final int children;
  private final PrintWriter out;
  private final PrintWriter err;
  private final Table table = new Table("STEP", ">TIME", "MEMORY");
  private final Set<String> sandboxes = new LinkedHashSet<>();
  private final List<String> branches = new ArrayList<>();

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
    table.row(name, Format.duration(Duration.ofNanos(System.nanoTime() - begin)), done.memory());
    return done.value();
  }

  void run(Api api) {
    String template = step("template " + DefaultTemplate.TAG, () -> template(api));
    try {
      tour(api, template);
    } catch (RuntimeException | Error e) {
      removeQuietly(api);
      throw e;
    }
    step("remove children and branch", () -> remove(api));
    out.println();
    out.print(table.render());
    out.println();
    out.println("The template '" + template + "' stays. Next:");
    out.println("  ./forkd fork " + template + "        prints the id of a new sandbox");
    out.println("  ./forkd eval ID 'numpy.arange(3)'");
    out.println("  ./forkd exec ID -- uname -a");
    out.println("  ./forkd branch ID mytag    then: ./forkd fork mytag -n 3; ./forkd tree");
  }

  private void tour(Api api, String template) {
    List<String> born = step("fork " + children + " children", () -> fork(api, template, children));
    step("eval " + CODE + " in each", () -> evalInEach(api, born));
    step("verify that no two are twins", () -> verify(api, born));
    String source = born.getFirst();
    step("state in memory and on disk of " + source, () -> leaveState(api, source));
    SnapshotInfo branch = step("branch it while it runs", () -> branch(api, source));
    List<String> grand =
        step(
            "fork " + GRANDCHILDREN + " grandchildren",
            () -> fork(api, branch.tag(), GRANDCHILDREN));
    step("they have its memory and its disk", () -> inherited(api, grand));
    step("they diverge", () -> diverge(api, source, grand));
    out.println();
    lineage(api, template).forEach(out::println);
  }

  private Done<String> template(Api api) {
    CreateTemplate recipe =
        new CreateTemplate(
            DefaultTemplate.TAG.value(),
            Optional.of(DefaultTemplate.PACKAGES),
            Optional.empty(),
            Optional.empty(),
            Optional.empty(),
            OptionalLong.empty(),
            OptionalLong.empty(),
            List.of(),
            List.of(CODE),
            OptionalLong.empty(),
            false);
    SnapshotInfo made = api.bake(recipe, line -> err.println("    " + line));
    String memory =
        made.memoryMib() + " MiB guest, " + Format.bytes(made.memoryBytes()) + " stored";
    return new Done<>(made.tag(), memory);
  }

  private Done<List<String>> fork(Api api, String tag, int count) {
    List<ChildResult> answer = api.fork(Requests.fork(tag, count));
    List<String> ids =
        answer.stream().flatMap(c -> c.sandbox().stream()).map(SandboxInfo::id).toList();
    sandboxes.addAll(ids);
    expect(ids.size() == count, "forked " + ids.size() + " of " + count + " children");
    return new Done<>(ids, "");
  }

  private Done<Integer> evalInEach(Api api, List<String> ids) {
    for (String id : ids) {
      String result = eval(api, id, CODE);
      expect(result.equals(ZEROS), CODE + " in " + id + " gave " + result);
      out.println("  " + id + "  " + CODE + " = " + result);
    }
    return new Done<>(ids.size(), memory(api, ids));
  }

  private static Done<Integer> verify(Api api, List<String> ids) {
    Set<String> random = new HashSet<>();
    Set<String> names = new HashSet<>();
    for (String id : ids) {
      CertificateInfo proof =
          api.sandbox(id)
              .certificate()
              .orElseThrow(
                  () -> new ForkdException(ErrorCode.INTERNAL, id + " has no certificate"));
      expect(
          proof.state().equals("verified"),
          "the certificate of " + id + " is " + proof.state() + proof.failure().orElse(""));
      random.add(proof.randomSha256().orElse(""));
      names.add(proof.hostname().orElse(""));
    }
    expect(random.size() == ids.size(), "two children drew the same random bytes");
    expect(names.size() == ids.size(), "two children have the same host name");
    return new Done<>(ids.size(), "");
  }

  private static Done<String> leaveState(Api api, String id) {
    eval(api, id, "kept = {'answer': 42, 'numbers': numpy.arange(1_000_000)}");
    exec(api, id, "echo written before the branch > /root/note; sync");
    return new Done<>(id, memory(api, List.of(id)));
  }

  private Done<SnapshotInfo> branch(Api api, String id) {
    String tag = "quickstart-" + Long.toHexString(System.currentTimeMillis());
    SnapshotInfo made = api.branch(id, Requests.diffBranch(Optional.of(tag)));
    branches.add(made.tag());
    return new Done<>(
        made,
        "paused "
            + made.pauseMs().orElse(0)
            + " ms, "
            + Format.bytes(made.diffPhysicalBytes().orElse(0))
            + " diverged");
  }

  private Done<Integer> inherited(Api api, List<String> ids) {
    for (String id : ids) {
      String memory = eval(api, id, "kept['answer'], int(kept['numbers'].sum())");
      String disk = exec(api, id, "cat /root/note");
      expect(memory.equals("(42, 499999500000)"), "memory of " + id + " says " + memory);
      expect(disk.equals("written before the branch\n"), "disk of " + id + " says " + disk);
      out.println("  " + id + "  memory: kept = " + memory + "   disk: " + disk.strip());
    }
    return new Done<>(ids.size(), memory(api, ids));
  }

  private Done<Integer> diverge(Api api, String source, List<String> ids) {
    for (int i = 0; i < ids.size(); i++) {
      eval(api, ids.get(i), "kept['answer'] = " + (100 + i));
      exec(api, ids.get(i), "echo grandchild " + i + " > /root/note");
    }
    exec(api, source, "echo written after the branch > /root/note");
    for (int i = 0; i < ids.size(); i++) {
      String id = ids.get(i);
      String answer = eval(api, id, "kept['answer']");
      String disk = exec(api, id, "cat /root/note");
      expect(answer.equals("" + (100 + i)), "memory of " + id + " says " + answer);
      expect(disk.equals("grandchild " + i + "\n"), "disk of " + id + " says " + disk);
      out.println("  " + id + "  memory: " + answer + "   disk: " + disk.strip());
    }
    String own = eval(api, source, "kept['answer']");
    expect(own.equals("42"), "the source's memory changed to " + own);
    return new Done<>(ids.size(), memory(api, ids));
  }

  /** Only what this tour made: others may use the daemon as well. */
  private List<String> lineage(Api api, String template) {
    List<SnapshotInfo> snapshots =
        api.snapshots().stream()
            .filter(s -> s.tag().equals(template) || branches.contains(s.tag()))
            .toList();
    List<SandboxInfo> own =
        api.sandboxes().stream().filter(s -> sandboxes.contains(s.id())).toList();
    return LineageTree.render(TreeCommand.nodes(snapshots, own));
  }

  private Done<Integer> remove(Api api) {
    int removed = sandboxes.size() + branches.size();
    for (String id : List.copyOf(sandboxes)) {
      api.kill(id);
      sandboxes.remove(id);
    }
    for (String tag : List.copyOf(branches)) {
      api.deleteSnapshot(tag, false, false);
      branches.remove(tag);
    }
    return new Done<>(removed, "");
  }

  /** After a failure: the failure is what counts, but what could not be removed is named. */
  private void removeQuietly(Api api) {
    for (String id : sandboxes) {
      try {
        api.kill(id);
      } catch (ForkdException e) {
        err.println("⚠ sandbox " + id + " stays: " + e.message());
      }
    }
    for (String tag : branches) {
      try {
        api.deleteSnapshot(tag, false, false);
      } catch (ForkdException e) {
        err.println("⚠ snapshot " + tag + " stays: " + e.message());
      }
    }
  }

  private static String eval(Api api, String id, String code) {
    EvalResponse answer = api.eval(id, code, EVAL_TIMEOUT);
    if (answer.error().isPresent()) {
      throw new ForkdException(
          ErrorCode.INTERNAL, "'" + code + "' in " + id + " raised " + answer.error().get());
    }
    return answer.result().orElse("None");
  }

  private static String exec(Api api, String id, String shell) {
    Requests.Collected output = new Requests.Collected();
    int status =
        api.exec(id, Requests.exec("sh", "-c", shell), InputStream.nullInputStream(), output);
    expect(status == 0, "'" + shell + "' in " + id + " ended with " + status + output.err());
    return output.out();
  }

  /** Mean per child: guest pages of its own, and its whole VMM process with its share of others. */
  private static String memory(Api api, List<String> ids) {
    long own = 0;
    long pss = 0;
    boolean readable = true;
    for (String id : ids) {
      SandboxInfo sandbox = api.sandbox(id);
      own += sandbox.divergedBytes().orElse(0);
      OptionalLong process =
          sandbox.pid().isPresent()
              ? ProcessMemory.pssBytes(sandbox.pid().getAsInt())
              : OptionalLong.empty();
      readable &= process.isPresent();
      pss += process.orElse(0);
    }
    String each = ids.size() > 1 ? " each" : "";
    String text = mib(own, ids.size()) + " of its own" + each;
    return readable ? text + ", " + mib(pss, ids.size()) + " with its share (PSS)" : text;
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
