package dev.forkd.system;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.ChildOutcome;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.EngineConfig;
import dev.forkd.engine.EngineFactory;
import dev.forkd.engine.EvalResult;
import dev.forkd.engine.ExecResult;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ForkSpec;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.SandboxView;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.TemplateSpec;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.stream.Stream;

/**
 * The data directory all system tests share, with the template {@code python} baked once, and the
 * few words in which they speak. One engine at a time has it.
 */
final class Lab {
  static final Tag PYTHON = KnownTemplate.PYTHON.tag();

  static final Duration PATIENCE = Duration.ofMinutes(1);

  /** Kept between runs of a build: the image and its packages are fetched once. */
  static final Path DATA_DIR = Path.of("target", "system", "data").toAbsolutePath();

  private static Optional<ForkdEngine> open = Optional.empty();

  private Lab() {}

  /** The engine, opened if nobody has it. */
  static synchronized ForkdEngine engine() {
    if (open.isEmpty()) {
      try {
        Files.createDirectories(DATA_DIR);
      } catch (IOException e) {
        throw new java.io.UncheckedIOException(e);
      }
      ForkdEngine engine = EngineFactory.open(new EngineConfig(DATA_DIR, 4, true));
      try {
        bake(engine, KnownTemplate.PYTHON);
      } catch (RuntimeException e) {
        // Or the next test would find the directory in use, and not the reason.
        engine.close();
        throw e;
      }
      open = Optional.of(engine);
    }
    return open.get();
  }

  /** Lets the data directory go with all that is in it; the next call opens it again. */
  static synchronized void release() {
    open.ifPresent(ForkdEngine::close);
    open = Optional.empty();
  }

  /** Bakes a template that forkd knows; one that an older source has left is made anew. */
  static synchronized void bake(KnownTemplate known) {
    bake(engine(), known);
  }

  private static void bake(ForkdEngine engine, KnownTemplate known) {
    TemplateSpec spec = TemplateSpec.of(known);
    try {
      engine.bake(spec, line -> System.out.println("bake: " + line));
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.ALREADY_EXISTS) {
        throw e;
      }
      engine.bake(spec.replacing(true), line -> System.out.println("bake: " + line));
    }
  }

  /** Ends every workspace and sandbox and removes every snapshot but {@code python}. */
  static void clean(ForkdEngine engine) {
    clean(engine, Set.of());
  }

  /** Keeps these templates as well: what else a class of tests has baked for itself. */
  static void clean(ForkdEngine engine, Set<KnownTemplate> kept) {
    engine.hosted().list().forEach(hosted -> engine.hosted().kill(hosted.id()));
    engine.workspaces().list().forEach(workspace -> engine.workspaces().delete(workspace.name()));
    engine.sandboxes().forEach(sandbox -> engine.kill(sandbox.id()));
    for (Snapshot snapshot : engine.snapshots()) {
      if (!snapshot.tag().equals(PYTHON)
          && kept.stream().noneMatch(known -> known.tag().equals(snapshot.tag()))) {
        engine.deleteSnapshot(snapshot.tag(), DeleteMode.FORCE);
      }
    }
  }

  static ForkSpec children(Tag of, int count) {
    return new ForkSpec(of, count, OptionalLong.empty(), false, false, false, "emulation");
  }

  static List<SandboxId> fork(Tag of, int count) {
    return started(engine().fork(children(of, count)));
  }

  static SandboxId forkOne() {
    return fork(PYTHON, 1).getFirst();
  }

  static List<SandboxId> started(List<ChildOutcome> outcomes) {
    return outcomes.stream()
        .map(outcome -> ((ChildOutcome.Started) outcome).sandbox())
        .map(SandboxView::id)
        .toList();
  }

  static String eval(SandboxId id, String code) {
    EvalResult result = engine().eval(id, code, PATIENCE);
    if (result.error().isPresent()) {
      throw new AssertionError(code + " raised " + result.error().get());
    }
    return result.result().orElseThrow();
  }

  static String sh(SandboxId id, String script) {
    ExecResult result = engine().exec(id, ExecSpec.of(List.of("sh", "-c", script), PATIENCE));
    String errors = new String(result.stderr(), StandardCharsets.UTF_8);
    if (result.exit().shellStatus() != 0) {
      throw new AssertionError(script + " ended with " + result.exit() + ": " + errors);
    }
    return new String(result.stdout(), StandardCharsets.UTF_8);
  }

  static Snapshot branch(SandboxId id, String tag, BranchSpec.Mode mode) {
    return engine().branch(id, new BranchSpec(Optional.of(new Tag(tag)), mode, Optional.empty()));
  }

  /** Milliseconds of CPU the processes of these sandboxes have used. */
  static long cpuMillis(List<SandboxId> ids) throws IOException {
    long ticks = 0;
    for (SandboxId id : ids) {
      int pid = engine().sandbox(id).pid().orElseThrow();
      String stat = Files.readString(Path.of("/proc/" + pid + "/stat"));
      String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
      ticks += Long.parseLong(fields[11]) + Long.parseLong(fields[12]);
    }
    return ticks * 10;
  }

  /** Processes that serve this data directory's sandboxes. */
  static List<ProcessHandle> vmms() {
    return vmms("forkd-sb");
  }

  /** Those whose name begins so. */
  static List<ProcessHandle> vmms(String prefix) {
    return ProcessHandle.allProcesses()
        .filter(process -> commandLine(process).contains(prefix))
        .filter(process -> commandLine(process).contains(DATA_DIR.toString()))
        .toList();
  }

  private static String commandLine(ProcessHandle process) {
    try {
      return Files.readString(
          Path.of("/proc/" + process.pid() + "/cmdline"), StandardCharsets.ISO_8859_1);
    } catch (IOException e) {
      return "";
    }
  }

  /** What is unfinished; the database driver keeps its library there. */
  static List<String> unfinished() throws IOException {
    return contents("staging").stream().filter(name -> !name.startsWith("sqlite-")).toList();
  }

  /** Names of what is in a folder of the data directory, but for what zygotes have there. */
  static List<String> contents(String folder) throws IOException {
    try (Stream<Path> entries = Files.list(DATA_DIR.resolve(folder))) {
      return entries
          .map(entry -> String.valueOf(entry.getFileName()))
          .filter(name -> !isZygotes(name))
          .sorted()
          .toList();
    }
  }

  /** Whether a file is a zygote's: these live as long as the engine. */
  static boolean isZygotes(String name) {
    return name.startsWith("zy") || name.startsWith("dzy");
  }
}
