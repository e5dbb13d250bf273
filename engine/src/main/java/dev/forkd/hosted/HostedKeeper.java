package dev.forkd.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.HostedSandboxes;
import dev.forkd.engine.HostedSpec;
import dev.forkd.engine.HostedView;
import dev.forkd.engine.LogEntry;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.UsageSample;
import dev.forkd.engine.WorkspaceSpec;
import dev.forkd.engine.WorkspaceView;
import dev.forkd.engine.Workspaces;
import dev.forkd.state.HostedRow;
import dev.forkd.state.StateStore;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.UnaryOperator;

/**
 * Keeps hosted sandboxes. Each is a workspace of the same name, which has its sandbox or what it
 * was saved as, and finds it again after a crash; what is written here is only what a workspace
 * does not know. A row without a workspace is one that was never finished, or was deleted: it means
 * nothing. Only {@link Moments} have rows of their own.
 *
 * <p>Thread-safe: changes of one wait for each other.
 */
public final class HostedKeeper implements HostedSandboxes, AutoCloseable {
  private static final System.Logger LOG = System.getLogger(HostedKeeper.class.getName());

  private final StateStore store;
  private final Workspaces workspaces;
  private final HostedHost host;
  private final InstantSource clock;
  private final Alarms alarms;
  private final Map<String, Hosted> all = new ConcurrentHashMap<>();
  private final Chronicle chronicle;
  private final HostedRows rows;
  private final Resumption resumption;
  private final Moments moments;
  private final Offspring offspring;
  private final Endings endings;

  public HostedKeeper(
      StateStore store, Workspaces workspaces, HostedHost host, InstantSource clock) {
    this.store = store;
    this.workspaces = workspaces;
    this.host = host;
    this.clock = clock;
    this.chronicle = new Chronicle(host, clock);
    this.alarms = new Alarms(clock);
    this.rows = new HostedRows(store);
    this.resumption = new Resumption(workspaces, host, rows, alarms, clock);
    this.moments = new Moments(store, host);
    this.offspring = new Offspring(host, moments, this::create);
    this.endings =
        new Endings(
            all, new Endings.Parts(workspaces, host, rows, resumption, alarms, chronicle, clock));
    alarms.every(Chronicle.SAMPLE_INTERVAL, () -> chronicle.sampleAll(all.values()));
  }

  private void note(Hosted hosted, String message, Map<String, String> fields) {
    note(hosted.id(), LogEntry.Level.INFO, "sandbox", message, fields);
  }

  /**
   * Takes up those of a former process. Call once, when workspaces are settled.
   *
   * @return what was done, for people
   */
  public List<String> recover() {
    List<String> done = new ArrayList<>();
    for (HostedRow row : store.listHosted()) {
      try {
        (Moments.isOne(row) ? moments.sweep(row) : takeUp(row)).ifPresent(done::add);
      } catch (ForkdException e) {
        String what = Moments.isOne(row) ? "snapshot " : "hosted sandbox ";
        done.add("not yet: " + what + row.id() + ": " + e.message());
      }
    }
    return done;
  }

  private Optional<String> takeUp(HostedRow row) {
    Hosted hosted =
        new Hosted(
            row.id(),
            HostedDetail.fromJson(row.detailJson()),
            Instant.ofEpochMilli(row.startedUnixMillis()),
            Instant.ofEpochMilli(row.endUnixMillis()),
            row.diskOnly());
    Optional<WorkspaceView> workspace = resumption.workspace(hosted);
    if (workspace.isEmpty()) {
      rows.forget(row.id());
      return Optional.of("removed: the record of hosted sandbox " + row.id() + ", which is gone");
    }
    all.put(row.id(), hosted);
    chronicle.begin(row.id());
    note(hosted, "found again by a new daemon", Map.of());
    switch (workspace.get().status()) {
      case RUNNING -> {
        hosted.runs(workspace.get().liveSandbox().orElseThrow(), hosted.started(), hosted.end());
        arm(hosted);
      }
      case SUSPENDED -> {}
      case STALE -> {
        kill(row.id());
        return Optional.of("removed: hosted sandbox " + row.id() + ", whose sandbox was lost");
      }
    }
    return Optional.empty();
  }

  @Override
  public HostedView create(HostedSpec spec) {
    return create(spec, spec.snapshot());
  }

  private HostedView create(HostedSpec spec, Tag origin) {
    HostedDetail detail =
        HostedDetail.of(
            spec,
            Hosted.bounded(spec.timeout()),
            spec.secured() ? Optional.of(HostedNames.token()) : Optional.empty(),
            host.size(origin));
    Instant now = clock.instant();
    Hosted hosted =
        new Hosted(HostedNames.id(), detail, now, now.plus(Hosted.bounded(spec.timeout())), false);
    // Its sandbox means nothing once the host has stopped, so neither does this.
    rows.save(hosted, false);
    WorkspaceView workspace;
    try {
      workspace =
          workspaces.create(new WorkspaceSpec(hosted.workspace(), origin, OptionalLong.empty()));
    } catch (RuntimeException e) {
      forgetQuietly(hosted, e);
      throw e;
    }
    Instant begin = clock.instant();
    hosted.runs(
        workspace.liveSandbox().orElseThrow(), begin, begin.plus(Hosted.bounded(spec.timeout())));
    all.put(hosted.id(), hosted);
    chronicle.begin(hosted.id());
    note(hosted, "created", Map.of("from", origin.value(), "end", hosted.end().toString()));
    arm(hosted);
    return hosted.view();
  }

  private void forgetQuietly(Hosted hosted, RuntimeException cause) {
    try {
      rows.forget(hosted.id());
    } catch (RuntimeException e) {
      // The next start removes it.
      cause.addSuppressed(e);
    }
  }

  @Override
  public HostedView get(String id) {
    return living(id).view();
  }

  @Override
  public List<HostedView> list() {
    return all.values().stream()
        .filter(hosted -> !hosted.ending() && !endings.endedByItself(hosted))
        .map(Hosted::view)
        .sorted(Comparator.comparing(HostedView::started).reversed())
        .toList();
  }

  private Hosted living(String id) {
    Hosted hosted = all.get(id);
    if (hosted == null || hosted.ending() || endings.endedByItself(hosted)) {
      throw notFound(id);
    }
    return hosted;
  }

  @Override
  public void kill(String id) {
    endings.kill(id);
  }

  @Override
  public void setTimeout(String id, Duration timeout) {
    Hosted hosted = living(id);
    try (Hosted.Turn _ = hosted.turn()) {
      hosted.requireRunning();
      endAt(hosted, clock.instant().plus(Hosted.bounded(timeout)));
    }
  }

  @Override
  public void extend(String id, Duration timeout) {
    Hosted hosted = living(id);
    try (Hosted.Turn _ = hosted.turn()) {
      hosted.requireRunning();
      extend(hosted, timeout);
    }
  }

  private void extend(Hosted hosted, Duration timeout) {
    Instant wanted = clock.instant().plus(Hosted.bounded(timeout));
    if (wanted.isAfter(hosted.end())) {
      endAt(hosted, wanted);
    }
  }

  private void endAt(Hosted hosted, Instant end) {
    hosted.endsAt(end);
    rows.save(hosted, false);
    note(hosted, "has another end", Map.of("end", end.toString()));
    arm(hosted);
  }

  @Override
  public void pause(String id, PauseMode mode) {
    Hosted hosted = living(id);
    try (Hosted.Turn _ = hosted.turn()) {
      pause(hosted, mode);
    }
  }

  private void pause(Hosted hosted, PauseMode mode) {
    SandboxId sandbox =
        hosted
            .sandbox()
            .orElseThrow(() ->
                new ForkdException(
                    ErrorCode.ALREADY_EXISTS, "sandbox " + hosted.id() + " is paused already"));
    boolean withoutMemory = mode == PauseMode.DISK;
    hosted.stops();
    try {
      if (withoutMemory) {
        host.endProcesses(sandbox);
      }
      workspaces.suspend(hosted.workspace(), true);
    } catch (RuntimeException e) {
      hosted.goesOn(sandbox);
      note(
          hosted.id(),
          LogEntry.Level.WARN,
          "sandbox",
          "could not be paused and goes on: " + e.getMessage(),
          Map.of());
      throw e;
    }
    hosted.alarm(Optional.empty());
    hosted.paused(clock.instant(), withoutMemory);
    rows.save(hosted, true);
    note(hosted, "paused", Map.of("memory", String.valueOf(!withoutMemory)));
  }

  @Override
  public boolean resume(String id, Duration timeout, boolean fresh) {
    Hosted hosted = living(id);
    try (Hosted.Turn _ = hosted.turn()) {
      if (hosted.sandbox().isPresent()) {
        extend(hosted, timeout);
        return false;
      }
      resume(hosted, timeout, fresh);
      return true;
    }
  }

  private SandboxId resume(Hosted hosted, Duration timeout, boolean fresh) {
    resumption.clear(hosted);
    if (resumption.workspace(hosted).isEmpty()) {
      // Somebody has deleted the workspace: nothing is left to resume.
      endings.remove(hosted);
      throw notFound(hosted.id());
    }
    Resumption.Begun begun =
        resumption.resume(hosted, Hosted.bounded(timeout), fresh, () -> atEnd(hosted));
    note(hosted, begun.booted() ? "booted" : "resumed", Map.of("end", hosted.end().toString()));
    return begun.sandbox();
  }

  @Override
  public SandboxId awake(String id, Duration leastTimeout) {
    Hosted hosted = Optional.ofNullable(all.get(id)).orElseThrow(() -> notFound(id));
    Optional<SandboxId> running = hosted.sandbox();
    if (running.isPresent()) {
      return running.get();
    }
    if (hosted.ending() || !hosted.detail().resumesBySelf()) {
      throw notFound(id);
    }
    try (Hosted.Turn _ = hosted.turn()) {
      Optional<SandboxId> meanwhile = hosted.sandbox();
      if (meanwhile.isPresent()) {
        return meanwhile.get();
      }
      if (hosted.diskOnly() || hosted.ending()) {
        throw notFound(id);
      }
      Duration own = Duration.ofMillis(hosted.detail().timeoutMillis());
      return resume(hosted, own.compareTo(leastTimeout) > 0 ? own : leastTimeout, false);
    }
  }

  @Override
  public Snapshot snapshot(String id, Optional<Tag> tag, PauseMode mode) {
    Hosted hosted = living(id);
    Snapshot made = offspring.snapshot(hosted, tag.orElseGet(() -> HostedNames.tag("snap")), mode);
    note(
        hosted,
        "saved as a snapshot",
        Map.of("snapshot", made.tag().value(), "memory", String.valueOf(mode == PauseMode.MEMORY)));
    return made;
  }

  @Override
  public List<HostedOutcome> fork(
      String id, int count, Duration timeout, UnaryOperator<Map<String, String>> attributes) {
    Hosted hosted = living(id);
    List<HostedOutcome> outcomes = offspring.fork(hosted, count, timeout, attributes);
    note(hosted, "forked", Map.of("count", String.valueOf(count)));
    return outcomes;
  }

  @Override
  public Subscription onStop(String id, SandboxId sandbox, Runnable listener) {
    Hosted hosted = all.get(id);
    if (hosted == null) {
      listener.run();
      return () -> {};
    }
    return hosted.onStop(sandbox, listener);
  }

  @Override
  public List<LogEntry> log(String id) {
    return chronicle.entries(id).orElseThrow(() -> notFound(id));
  }

  @Override
  public void note(
      String id, LogEntry.Level level, String logger, String message, Map<String, String> fields) {
    chronicle.note(id, level, logger, message, fields);
  }

  @Override
  public List<UsageSample> usage(String id) {
    return chronicle.samples(id, living(id).sandbox());
  }

  /** Its end has come, unless it was moved meanwhile. */
  private void atEnd(Hosted hosted) {
    // Whoever was answered that its end was moved had its turn before this one.
    try (Hosted.Turn _ = hosted.turn()) {
      // One whose workspace was suspended by its name is paused, and has no end, also if nobody has
      // looked at it since.
      if (endings.endedByItself(hosted)) {
        return;
      }
      if (!isOver(hosted)) {
        if (hosted.sandbox().isPresent()) {
          // The clock was set back: the end is to come by it.
          arm(hosted);
        }
        return;
      }
      if (hosted.sandbox().filter(host::living).isEmpty()) {
        throw new ForkdException(
            ErrorCode.UNAVAILABLE, "whether it runs or is suspended cannot be told now");
      }
      switch (hosted.detail().atEnd()) {
        case KILL -> kill(hosted.id());
        case PAUSE -> pause(hosted, PauseMode.MEMORY);
        case PAUSE_DISK -> pause(hosted, PauseMode.DISK);
      }
    } catch (RuntimeException e) {
      if (hosted.ending()) {
        // Who wanted it gone sees to it.
        return;
      }
      LOG.log(System.Logger.Level.WARNING, "the end of {0}: {1}", hosted.id(), e.getMessage());
      alarms.again(hosted, () -> atEnd(hosted));
    }
  }

  private void arm(Hosted hosted) {
    alarms.atEnd(hosted, () -> atEnd(hosted));
  }

  private boolean isOver(Hosted hosted) {
    return hosted.sandbox().isPresent() && !clock.instant().isBefore(hosted.end());
  }

  static ForkdException notFound(String id) {
    return new ForkdException(ErrorCode.NOT_FOUND, "sandbox " + shortened(id) + " was not found");
  }

  private static String shortened(String id) {
    return id.length() <= 64 ? id : id.substring(0, 64) + "…";
  }

  /** Ends no sandbox: they go on, and the next process takes them up. */
  @Override
  public void close() {
    endings.close();
    alarms.close();
  }
}
