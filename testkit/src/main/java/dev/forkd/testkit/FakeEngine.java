package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.Caller;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.ChildOutcome;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.EngineStats;
import dev.forkd.engine.EvalResult;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSession;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ForkSpec;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.GuestFiles;
import dev.forkd.engine.GuestPorts;
import dev.forkd.engine.GuestProcesses;
import dev.forkd.engine.GuestReport;
import dev.forkd.engine.GuestUsage;
import dev.forkd.engine.HostedSandboxes;
import dev.forkd.engine.Pools;
import dev.forkd.engine.RecoveryReport;
import dev.forkd.engine.SandboxView;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.SnapshotDetail;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.engine.Workspaces;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;

/**
 * An engine without virtual machines: snapshots and sandboxes are rows in memory, and a guest knows
 * the few programs of {@link FakeProcess}. It keeps the rules of the real one (what exists, what is
 * taken, what fails with which code), and can be told to fail or to wait, so that whoever stands on
 * the front can be tested alone.
 */
public final class FakeEngine implements ForkdEngine {
  private static final int MEMORY_MIB = 512;
  private static final int DISK_MIB = 2048;
  private static final long EPOCH_SECONDS = 1_700_000_000L;

  private final int branchConcurrency;
  private final Map<Tag, Snapshot> snapshots = new ConcurrentSkipListMap<>();
  private final Map<SandboxId, Guest> guests = new ConcurrentSkipListMap<>();
  private final AtomicInteger counter = new AtomicInteger();
  private final AtomicInteger branching = new AtomicInteger();
  private final AtomicInteger evaluating = new AtomicInteger();
  private final AtomicReference<Optional<RuntimeException>> nextFailure =
      new AtomicReference<>(Optional.empty());
  private final AtomicReference<Runnable> duringBranch = new AtomicReference<>(() -> {});
  private final AtomicInteger failingChildren = new AtomicInteger();
  private final AtomicReference<Runnable> onClose = new AtomicReference<>(() -> {});
  private final FakeWorkspaces workspaces = new FakeWorkspaces(this);
  private final FakePools pools = new FakePools(this);
  private final HostedSandboxes hosted = FakeHosting.over(this);
  private volatile boolean closed;

  /** A sandbox: what is seen of it, its files and its running processes. */
  private static final class Guest {
    private final AtomicReference<SandboxView> view;
    private final FakeDoor door = new FakeDoor();
    private final FakeFiles files = new FakeFiles(door);
    private final FakeProcesses kept = new FakeProcesses(door);
    private final List<FakeProcess> processes = new CopyOnWriteArrayList<>();

    Guest(SandboxView view) {
      this.view = new AtomicReference<>(view);
    }
  }

  public FakeEngine() {
    this(4);
  }

  public FakeEngine(int branchConcurrency) {
    this.branchConcurrency = branchConcurrency;
  }

  /** Puts a template there. */
  public FakeEngine withTemplate(String tag) {
    add(template(new Tag(tag), Snapshot.Status.READY, Optional.empty()));
    return this;
  }

  /** Puts a template there that cannot be started. */
  public FakeEngine withBrokenTemplate(String tag, String warning) {
    add(template(new Tag(tag), Snapshot.Status.FAILED, Optional.of(warning)));
    return this;
  }

  /** Lets the next call of any method fail, as it may or as no method should. */
  public void failNext(RuntimeException failure) {
    nextFailure.set(Optional.of(failure));
  }

  /** Runs inside each branch, before it ends. */
  public void duringBranch(Runnable hook) {
    duringBranch.set(hook);
  }

  /** Runs when the engine is closed. */
  public FakeEngine onClose(Runnable hook) {
    onClose.set(hook);
    return this;
  }

  /** Lets the last {@code count} children of the next fork fail. */
  public void failChildren(int count) {
    failingChildren.set(count);
  }

  /** Marks a sandbox as one whose VMM died. */
  public void breakSandbox(SandboxId id, String reason) {
    guest(id)
        .view
        .updateAndGet(view ->
            copy(view, "failed", Optional.of(reason), view.branchCount(), Optional.empty()));
  }

  /** Commands under way in all sandboxes. */
  public int liveProcesses() {
    return guests.values().stream()
        .mapToInt(guest -> (int) guest.processes.stream().filter(p -> !p.ended()).count())
        .sum();
  }

  /** Commands begun in all sandboxes, those that have ended included. */
  public int startedProcesses() {
    return guests.values().stream().mapToInt(guest -> guest.processes.size()).sum();
  }

  public boolean isClosed() {
    return closed;
  }

  private void add(Snapshot snapshot) {
    snapshots.put(snapshot.tag(), snapshot);
  }

  void mayFail() {
    Optional<RuntimeException> failure = nextFailure.getAndSet(Optional.empty());
    if (failure.isPresent()) {
      throw failure.get();
    }
  }

  private static Snapshot template(Tag tag, Snapshot.Status status, Optional<String> warning) {
    return new Snapshot(
        tag,
        Path.of("/data/snapshots", tag.value()),
        EPOCH_SECONDS,
        status,
        true,
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        MEMORY_MIB,
        DISK_MIB,
        60L << 20,
        200L << 20,
        warning);
  }

  @Override
  public List<Snapshot> snapshots() {
    mayFail();
    return List.copyOf(snapshots.values());
  }

  @Override
  public Snapshot snapshot(Tag tag) {
    mayFail();
    Snapshot snapshot = snapshots.get(tag);
    if (snapshot == null) {
      throw new ForkdException(
          ErrorCode.NOT_FOUND,
          "snapshot '" + tag + "' not found; forkd images lists those there are");
    }
    return snapshot;
  }

  @Override
  public SnapshotDetail snapshotDetail(Tag tag) {
    Snapshot snapshot = snapshot(tag);
    List<Tag> ancestors = new ArrayList<>();
    for (Optional<Tag> next = snapshot.parent(); next.isPresent(); ) {
      Snapshot ancestor = snapshots.get(next.get());
      if (ancestor == null) {
        throw new ForkdException(
            ErrorCode.DATA_LOSS, "ancestor " + next.get() + " of " + tag + " does not exist");
      }
      ancestors.addFirst(ancestor.tag());
      next = ancestor.parent();
    }
    return new SnapshotDetail(
        tag,
        snapshot.dir(),
        snapshot.createdAtUnix(),
        (long) MEMORY_MIB << 20,
        snapshot.memoryBytes(),
        60L << 20,
        13_000,
        snapshot.diskBytes(),
        200L << 20,
        "a".repeat(64),
        snapshot.parent(),
        snapshot.parent().map(_ -> "b".repeat(64)),
        ancestors,
        dependents(tag));
  }

  private List<Tag> dependents(Tag tag) {
    return snapshots.values().stream()
        .filter(other -> other.parent().equals(Optional.of(tag)))
        .map(Snapshot::tag)
        .toList();
  }

  @Override
  public Snapshot compact(Tag from, Tag to) {
    if (from.equals(to)) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "snapshot " + from + " cannot be compacted to its own tag");
    }
    if (snapshots.containsKey(to)) {
      throw new ForkdException(ErrorCode.ALREADY_EXISTS, "snapshot " + to + " exists");
    }
    Snapshot source = snapshot(from);
    Snapshot made =
        new Snapshot(
            to,
            Path.of("/data/snapshots", to.value()),
            EPOCH_SECONDS,
            Snapshot.Status.READY,
            false,
            Optional.empty(),
            Optional.of(from),
            Optional.empty(),
            Optional.of("compact"),
            OptionalLong.empty(),
            OptionalLong.empty(),
            OptionalLong.empty(),
            OptionalLong.empty(),
            OptionalLong.empty(),
            MEMORY_MIB,
            DISK_MIB,
            100L << 20,
            source.diskBytes(),
            Optional.empty());
    add(made);
    return made;
  }

  @Override
  public Snapshot bake(TemplateSpec spec, Consumer<String> progress) {
    mayFail();
    progress.accept("making the disk");
    progress.accept("booting");
    if (spec.runCommands().contains("false")) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION, "template " + spec.tag() + ": 'false' exited with 1");
    }
    progress.accept("freezing");
    Snapshot made = template(spec.tag(), Snapshot.Status.READY, Optional.empty());
    if (!spec.replace() && snapshots.putIfAbsent(spec.tag(), made) != null) {
      throw new ForkdException(
          ErrorCode.ALREADY_EXISTS, "snapshot " + spec.tag() + " exists; delete it first");
    }
    add(made);
    return made;
  }

  @Override
  public void deleteSnapshot(Tag tag, DeleteMode mode) {
    snapshot(tag);
    workspaces.deleting(tag, mode);
    List<Tag> dependents = dependents(tag);
    if (!dependents.isEmpty() && mode == DeleteMode.REFUSE) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "snapshot "
              + tag
              + " has "
              + dependents.size()
              + " dependents "
              + dependents
              + "; delete them too with ?cascade=true or leave them with ?force=true");
    }
    if (mode == DeleteMode.CASCADE) {
      dependents.forEach(dependent -> deleteSnapshot(dependent, mode));
    }
    snapshots.remove(tag);
  }

  @Override
  public List<ChildOutcome> fork(ForkSpec spec) {
    Snapshot source = snapshot(spec.snapshot());
    if (!source.bootable()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "snapshot " + source.tag() + " is not bootable: " + source.warning().orElse("unknown"));
    }
    int failing = failingChildren.getAndSet(0);
    if (failing > 0 && !spec.partial()) {
      throw new ForkdException(ErrorCode.UNAVAILABLE, "child 1 of " + spec.count() + " died");
    }
    List<ChildOutcome> outcomes = new ArrayList<>();
    for (int i = 0; i < spec.count(); i++) {
      if (i >= spec.count() - failing) {
        outcomes.add(new ChildOutcome.Failed(ErrorCode.UNAVAILABLE, "child " + i + " died"));
        continue;
      }
      SandboxId id = new SandboxId("sb%08x".formatted(counter.incrementAndGet()));
      SandboxView view = newborn(id, spec);
      guests.put(id, new Guest(view));
      outcomes.add(new ChildOutcome.Started(view));
    }
    return outcomes;
  }

  private static SandboxView newborn(SandboxId id, ForkSpec spec) {
    Certificate certificate =
        spec.certify() || spec.prewarm()
            ? new Certificate(
                Certificate.State.VERIFIED,
                Optional.of("epoch-" + id),
                Optional.of(id.value()),
                Optional.of("0".repeat(32)),
                Optional.of("1".repeat(64)),
                Optional.of("2".repeat(64)),
                OptionalLong.of(-3),
                OptionalLong.of(6),
                OptionalLong.of(12),
                OptionalLong.of(EPOCH_SECONDS * 1000),
                Optional.empty())
            : Certificate.pending();
    return new SandboxView(
        id,
        spec.snapshot(),
        EPOCH_SECONDS,
        OptionalInt.of(4242),
        spec.memoryLimitMib(),
        0,
        Optional.empty(),
        "emulation",
        "created",
        Optional.empty(),
        MEMORY_MIB,
        OptionalLong.of(1 << 20),
        certificate);
  }

  private static SandboxView copy(
      SandboxView view,
      String state,
      Optional<String> failure,
      int branchCount,
      Optional<Path> branchMemory) {
    return new SandboxView(
        view.id(),
        view.snapshot(),
        view.createdAtUnix(),
        failure.isPresent() ? OptionalInt.empty() : view.pid(),
        view.memoryLimitMib(),
        branchCount,
        branchMemory.or(view::lastBranchMemoryPath),
        view.isolation(),
        state,
        failure,
        view.memoryMib(),
        view.divergedBytes(),
        view.certificate());
  }

  private Guest guest(SandboxId id) {
    Guest guest = guests.get(id);
    if (guest == null) {
      throw new ForkdException(ErrorCode.NOT_FOUND, "sandbox " + id + " not found");
    }
    return guest;
  }

  private Guest living(SandboxId id) {
    mayFail();
    Guest guest = guest(id);
    guest
        .view
        .get()
        .failure()
        .ifPresent(reason -> {
          throw new ForkdException(ErrorCode.UNAVAILABLE, "sandbox " + id + " failed: " + reason);
        });
    return guest;
  }

  @Override
  public List<SandboxView> sandboxes() {
    mayFail();
    return guests.values().stream().map(guest -> guest.view.get()).toList();
  }

  @Override
  public SandboxView sandbox(SandboxId id) {
    mayFail();
    return guest(id).view.get();
  }

  @Override
  public void kill(SandboxId id) {
    mayFail();
    Guest guest = guests.remove(id);
    if (guest == null) {
      throw new ForkdException(ErrorCode.NOT_FOUND, "sandbox " + id + " not found");
    }
    guest.processes.forEach(process ->
        process.fail(new ForkdException(ErrorCode.UNAVAILABLE, "sandbox '" + id + "' was killed")));
    guest.kept.close();
  }

  @Override
  public Snapshot branch(SandboxId id, BranchSpec spec) {
    Guest guest = living(id);
    if (spec.parentTag().isPresent()
        && (!spec.parentTag().get().equals(guest.view.get().snapshot())
            || (spec.mode() != BranchSpec.Mode.DIFF && spec.mode() != BranchSpec.Mode.LIVE))) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "parent_tag is not the source's, or the mode is not diff");
    }
    if (branching.incrementAndGet() > branchConcurrency) {
      branching.decrementAndGet();
      throw new ForkdException(ErrorCode.RESOURCE_EXHAUSTED, "too many branches under way");
    }
    try {
      duringBranch.get().run();
      Tag tag =
          spec.tag().orElseGet(() -> new Tag("branch-" + id + "-" + counter.incrementAndGet()));
      boolean timed = spec.mode() != BranchSpec.Mode.FULL;
      Snapshot made =
          new Snapshot(
              tag,
              Path.of("/data/snapshots", tag.value()),
              EPOCH_SECONDS,
              spec.untilReady() ? Snapshot.Status.READY : Snapshot.Status.WRITING,
              false,
              spec.parentTag(),
              Optional.of(guest.view.get().snapshot()),
              Optional.of(id),
              Optional.of(spec.mode().name().toLowerCase(java.util.Locale.ROOT)),
              OptionalLong.of(9),
              timed ? OptionalLong.of(4) : OptionalLong.empty(),
              timed ? OptionalLong.of(40L << 20) : OptionalLong.empty(),
              timed ? OptionalLong.of((long) MEMORY_MIB << 20) : OptionalLong.empty(),
              OptionalLong.of(2),
              MEMORY_MIB,
              DISK_MIB,
              40L << 20,
              1 << 20,
              Optional.empty());
      if (snapshots.putIfAbsent(tag, made) != null) {
        throw new ForkdException(ErrorCode.ALREADY_EXISTS, "snapshot " + tag + " exists");
      }
      guest.view.updateAndGet(view ->
          copy(
              view,
              "running",
              Optional.empty(),
              view.branchCount() + 1,
              Optional.of(made.dir().resolve("memory.bin"))));
      return made;
    } finally {
      branching.decrementAndGet();
    }
  }

  @Override
  public GuestReport ping(SandboxId id) {
    Guest guest = living(id);
    int processes = (int) guest.processes.stream().filter(p -> !p.ended()).count();
    return new GuestReport(
        "1.0.0", "ready", Optional.of("python"), Optional.of("1.24.2"), processes, true, 0.5);
  }

  @Override
  public ExecSession startExec(SandboxId id, ExecSpec spec, ExecListener listener) {
    Guest guest = living(id);
    FakeProcess process = FakeProcess.start(spec, listener);
    guest.processes.add(process);
    return process;
  }

  @Override
  public EvalResult eval(SandboxId id, String code, Duration timeout, Caller caller) {
    living(id);
    if (!caller.mayHold(code.length())) {
      throw new ForkdException(ErrorCode.RESOURCE_EXHAUSTED, "too much is held for others");
    }
    return switch (code) {
      case "1+1" -> value("2", "");
      case "numpy.zeros(5).tolist()" -> value("[0.0, 0.0, 0.0, 0.0, 0.0]", "");
      case "print('hi')" ->
          new EvalResult(Optional.empty(), Optional.empty(), Optional.empty(), "hi\n", 0.7);
      case "1/0" ->
          new EvalResult(
              Optional.empty(),
              Optional.of("ZeroDivisionError: division by zero"),
              Optional.of("Traceback (most recent call last): …"),
              "",
              0.7);
      case "while True: pass" -> endless(timeout, caller);
      default -> value("'" + code.replace("'", "\\'") + "'", "");
    };
  }

  private EvalResult endless(Duration timeout, Caller caller) {
    CountDownLatch gone = new CountDownLatch(1);
    evaluating.incrementAndGet();
    try (Caller.Standing _ = caller.onGone(gone::countDown)) {
      throw gone.await(timeout.toMillis(), TimeUnit.MILLISECONDS)
          ? new ForkdException(ErrorCode.CANCELLED, "nobody waits for the evaluation any more")
          : new ForkdException(
              ErrorCode.DEADLINE_EXCEEDED,
              "eval did not end within " + timeout.toSeconds() + " s and was interrupted");
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted", e);
    } finally {
      evaluating.decrementAndGet();
    }
  }

  /** Evaluations that have not ended. */
  public int evaluating() {
    return evaluating.get();
  }

  private static EvalResult value(String repr, String stdout) {
    return new EvalResult(Optional.of(repr), Optional.empty(), Optional.empty(), stdout, 0.7);
  }

  @Override
  public Workspaces workspaces() {
    return workspaces;
  }

  @Override
  public Pools pools() {
    return pools;
  }

  @Override
  public GuestFiles files(SandboxId id) {
    return living(id).files;
  }

  @Override
  public GuestProcesses processes(SandboxId id) {
    return living(id).kept;
  }

  @Override
  public GuestPorts ports(SandboxId id) {
    return new FakePorts(living(id).door);
  }

  @Override
  public GuestUsage usage(SandboxId id) {
    living(id);
    return new GuestUsage(1, 5.5, 512L << 20, 64L << 20, 32L << 20, 2L << 30, 1L << 30);
  }

  @Override
  public HostedSandboxes hosted() {
    return hosted;
  }

  @Override
  public EngineStats stats() {
    return new EngineStats(
        snapshots.size(),
        guests.size(),
        branching.get(),
        branchConcurrency,
        EngineStats.Admission.NONE,
        EngineStats.Pool.NONE);
  }

  @Override
  public RecoveryReport recovery() {
    return new RecoveryReport(List.of("sb1"), List.of(), List.of("vm of sb2"));
  }

  @Override
  public void close() {
    closed = true;
    guests.values().forEach(guest -> guest.kept.close());
    onClose.get().run();
  }

  /** Who is saved must be alone. */
  FakeDoor door(SandboxId id) {
    return living(id).door;
  }

  /** Requests that are inside guests, for assertions on leftovers. */
  public int inside() {
    return guests.values().stream().mapToInt(guest -> guest.door.inside()).sum();
  }

  /** What is there, for assertions on leftovers. */
  public Map<String, Integer> counts() {
    return new TreeMap<>(Map.of("snapshots", snapshots.size(), "sandboxes", guests.size()));
  }
}
