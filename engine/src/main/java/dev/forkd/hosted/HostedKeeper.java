package dev.forkd.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
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
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;

/**
 * Keeps hosted sandboxes. Each is a workspace of the same name, which has its sandbox or what it
 * was saved as, and finds it again after a crash; what is written here is only what a workspace
 * does not know. A row without a workspace is one that was never finished, or was deleted: it means
 * nothing.
 *
 * <p>Thread-safe: changes of one wait for each other.
 */
public final class HostedKeeper implements HostedSandboxes, AutoCloseable {
  private static final System.Logger LOG = System.getLogger(HostedKeeper.class.getName());

  /** As far ahead as an end can be set; longer ones are that long. */
  private static final Duration TIMEOUT_MAX = Duration.ofDays(365);

  /** After an end that could not be brought about. */
  private static final Duration END_RETRY = Duration.ofSeconds(10);

  /** Longer than a resumption takes. */
  private static final Duration RESUME_SPARE = Duration.ofMinutes(5);

  /** How many of one fork are made at once. */
  private static final int FORKS_AT_ONCE = 4;

  private final StateStore store;
  private final Workspaces workspaces;
  private final HostedHost host;
  private final InstantSource clock;
  private final ScheduledExecutorService alarms = Threads.clock("hosted-ends");
  private final Map<String, Hosted> all = new ConcurrentHashMap<>();
  private final Chronicle chronicle;

  public HostedKeeper(
      StateStore store, Workspaces workspaces, HostedHost host, InstantSource clock) {
    this.store = store;
    this.workspaces = workspaces;
    this.host = host;
    this.clock = clock;
    this.chronicle = new Chronicle(host, clock);
    long interval = Chronicle.SAMPLE_INTERVAL.toMillis();
    var _ =
        alarms.scheduleWithFixedDelay(
            () -> {
              var _ = Threads.virtual("hosted-usage", () -> chronicle.sampleAll(all.values()));
            },
            interval,
            interval,
            TimeUnit.MILLISECONDS);
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
        takeUp(row).ifPresent(done::add);
      } catch (ForkdException e) {
        done.add("not yet: hosted sandbox " + row.id() + ": " + e.message());
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
    Optional<WorkspaceView> workspace = workspace(hosted);
    if (workspace.isEmpty()) {
      store.deleteHosted(row.id());
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

  private Optional<WorkspaceView> workspace(Hosted hosted) {
    try {
      return Optional.of(workspaces.get(hosted.workspace()));
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        return Optional.empty();
      }
      throw e;
    }
  }

  @Override
  public HostedView create(HostedSpec spec) {
    return create(spec, spec.snapshot());
  }

  private HostedView create(HostedSpec spec, Tag origin) {
    HostedDetail detail =
        HostedDetail.of(
            spec,
            bounded(spec.timeout()),
            spec.secured() ? Optional.of(HostedNames.token()) : Optional.empty(),
            host.size(origin));
    Instant now = clock.instant();
    Hosted hosted =
        new Hosted(HostedNames.id(), detail, now, now.plus(bounded(spec.timeout())), false);
    // Its sandbox means nothing once the host has stopped, so neither does this.
    save(hosted, false);
    WorkspaceView workspace;
    try {
      workspace =
          workspaces.create(new WorkspaceSpec(hosted.workspace(), origin, OptionalLong.empty()));
    } catch (RuntimeException e) {
      forgetQuietly(hosted, e);
      throw e;
    }
    Instant begin = clock.instant();
    hosted.runs(workspace.liveSandbox().orElseThrow(), begin, begin.plus(bounded(spec.timeout())));
    all.put(hosted.id(), hosted);
    chronicle.begin(hosted.id());
    note(hosted, "created", Map.of("from", origin.value(), "end", hosted.end().toString()));
    arm(hosted);
    return hosted.view();
  }

  private void forgetQuietly(Hosted hosted, RuntimeException cause) {
    try {
      store.deleteHosted(hosted.id());
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
        .filter(hosted -> !hosted.ending() && !endedByItself(hosted))
        .map(Hosted::view)
        .sorted(Comparator.comparing(HostedView::started).reversed())
        .toList();
  }

  private Hosted living(String id) {
    Hosted hosted = all.get(id);
    if (hosted == null || hosted.ending() || endedByItself(hosted)) {
      throw notFound(id);
    }
    return hosted;
  }

  /** One whose sandbox has failed, or was killed by other means, is over. */
  private boolean endedByItself(Hosted hosted) {
    Optional<SandboxId> sandbox = hosted.sandbox();
    if (sandbox.isEmpty() || host.living(sandbox.get())) {
      return false;
    }
    note(hosted.id(), LogEntry.Level.ERROR, "sandbox", "has failed, or was ended", Map.of());
    Threads.virtual("end-" + hosted.id(), () -> endQuietly(hosted));
    return true;
  }

  private void endQuietly(Hosted hosted) {
    try {
      // By the name of its sandbox no more: it may have been resumed meanwhile.
      if (hosted.sandbox().filter(host::living).isEmpty()) {
        kill(hosted.id());
      }
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.NOT_FOUND) {
        LOG.log(System.Logger.Level.WARNING, "end {0}: {1}", hosted.id(), e.message());
      }
    }
  }

  @Override
  public void kill(String id) {
    Hosted hosted = Optional.ofNullable(all.get(id)).orElseThrow(() -> notFound(id));
    // What streams to it ends at once, also while somebody pauses it.
    hosted.ends();
    try (Hosted.Turn _ = hosted.turn()) {
      hosted.stops();
      hosted.alarm(Optional.empty());
      remove(hosted);
    } catch (RuntimeException e) {
      if (!hosted.gone()) {
        // Nobody finds it any more, so nobody would try again.
        later(hosted, END_RETRY.toMillis(), () -> endQuietly(hosted));
      }
      throw e;
    }
  }

  private void remove(Hosted hosted) {
    if (workspace(hosted).isPresent()) {
      workspaces.delete(hosted.workspace());
    }
    store.deleteHosted(hosted.id());
    hosted.goes();
    all.remove(hosted.id());
    note(hosted, "ended", Map.of());
    chronicle.end(hosted.id());
  }

  @Override
  public void setTimeout(String id, Duration timeout) {
    Hosted hosted = living(id);
    try (Hosted.Turn _ = hosted.turn()) {
      requireRunning(hosted);
      endAt(hosted, clock.instant().plus(bounded(timeout)));
    }
  }

  @Override
  public void extend(String id, Duration timeout) {
    Hosted hosted = living(id);
    try (Hosted.Turn _ = hosted.turn()) {
      requireRunning(hosted);
      extend(hosted, timeout);
    }
  }

  private void extend(Hosted hosted, Duration timeout) {
    Instant wanted = clock.instant().plus(bounded(timeout));
    if (wanted.isAfter(hosted.end())) {
      endAt(hosted, wanted);
    }
  }

  private void endAt(Hosted hosted, Instant end) {
    hosted.endsAt(end);
    save(hosted, false);
    note(hosted, "has another end", Map.of("end", end.toString()));
    arm(hosted);
  }

  private SandboxId requireRunning(Hosted hosted) {
    return hosted
        .sandbox()
        .orElseThrow(() ->
            new ForkdException(
                ErrorCode.FAILED_PRECONDITION,
                "sandbox " + hosted.id() + " is paused; connect to it first, which resumes it"));
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
    save(hosted, true);
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
    clear(hosted);
    if (workspace(hosted).isEmpty()) {
      // Somebody has deleted the workspace: nothing is left to resume.
      remove(hosted);
      throw notFound(hosted.id());
    }
    Instant started = hosted.started();
    Instant paused = hosted.end();
    try {
      return begin(hosted, timeout, fresh);
    } catch (RuntimeException e) {
      // Nobody was inside, so all that it did meanwhile may be forgotten.
      hosted.alarm(Optional.empty());
      hosted.paused(started, paused);
      try {
        clear(hosted);
        save(hosted, true);
      } catch (RuntimeException left) {
        e.addSuppressed(left);
        later(hosted, END_RETRY.toMillis(), () -> clearQuietly(hosted));
      }
      throw e;
    }
  }

  private SandboxId begin(Hosted hosted, Duration timeout, boolean fresh) {
    // Should this process end before all is done, the next one must not find that its time is over.
    hosted.endsAt(clock.instant().plus(bounded(timeout)).plus(RESUME_SPARE));
    save(hosted, true);
    if (fresh && !hosted.diskOnly()) {
      // Its disk is whole only once what its memory holds for it is written.
      host.endProcesses(start(hosted));
      workspaces.suspend(hosted.workspace(), true);
      hosted.leaves(false);
      hosted.keepsDiskOnly();
    }
    boolean boots = hosted.diskOnly();
    if (boots) {
      workspaces.reboot(hosted.workspace());
    }
    SandboxId sandbox = start(hosted);
    Instant now = clock.instant();
    hosted.lives(now, now.plus(bounded(timeout)));
    save(hosted, false);
    arm(hosted);
    hosted.leaves(false);
    hosted.goesOn(sandbox);
    note(hosted, boots ? "booted" : "resumed", Map.of("end", hosted.end().toString()));
    return sandbox;
  }

  private SandboxId start(Hosted hosted) {
    SandboxId sandbox = workspaces.resume(hosted.workspace()).liveSandbox().orElseThrow();
    hosted.leaves(true);
    return sandbox;
  }

  /** Ends what a resumption that failed has left running. */
  private void clear(Hosted hosted) {
    if (hosted.leftover()) {
      if (workspace(hosted).isPresent()) {
        workspaces.discard(hosted.workspace());
      }
      hosted.leaves(false);
    }
  }

  private void clearQuietly(Hosted hosted) {
    try (Hosted.Turn _ = hosted.turn()) {
      clear(hosted);
    } catch (RuntimeException e) {
      if (!hosted.gone()) {
        LOG.log(System.Logger.Level.WARNING, "clear {0}: {1}", hosted.id(), e.getMessage());
        later(hosted, END_RETRY.toMillis(), () -> clearQuietly(hosted));
      }
    }
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
    Tag wanted = tag.orElseGet(() -> HostedNames.tag("snap"));
    Snapshot made =
        switch (mode) {
          case MEMORY -> {
            try (Hosted.Turn _ = hosted.turn()) {
              yield host.branch(requireRunning(hosted), wanted);
            }
          }
          case DISK -> diskOf(hosted, wanted);
        };
    note(
        hosted,
        "saved as a snapshot",
        Map.of("snapshot", made.tag().value(), "memory", String.valueOf(mode == PauseMode.MEMORY)));
    return made;
  }

  /** Its turn is over once its disk is held: the boot has nothing to do with it any more. */
  private Snapshot diskOf(Hosted hosted, Tag wanted) {
    Tag moment = HostedNames.tag("disk");
    try (Hosted.Turn _ = hosted.turn()) {
      SandboxId sandbox = requireRunning(hosted);
      host.writeDisk(sandbox);
      host.branch(sandbox, moment);
    }
    try {
      return host.reboot(moment, wanted);
    } finally {
      host.remove(moment);
    }
  }

  @Override
  public List<HostedOutcome> fork(
      String id, int count, Duration timeout, UnaryOperator<Map<String, String>> attributes) {
    Hosted hosted = living(id);
    Tag moment = HostedNames.tag("fork");
    try (Hosted.Turn _ = hosted.turn()) {
      host.branch(requireRunning(hosted), moment);
    }
    note(hosted, "forked", Map.of("count", String.valueOf(count)));
    HostedSpec like = hosted.detail().spec();
    try (ExecutorService makers = Threads.virtualExecutor("fork-" + id, FORKS_AT_ONCE)) {
      List<Future<HostedOutcome>> made =
          IntStream.range(0, count)
              .mapToObj(_ -> like(like, timeout, attributes.apply(like.attributes())))
              .map(spec -> makers.submit(() -> outcome(spec, moment)))
              .toList();
      List<HostedOutcome> outcomes = new ArrayList<>();
      for (Future<HostedOutcome> one : made) {
        outcomes.add(one.get());
      }
      return outcomes;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while forking " + id, e);
    } catch (ExecutionException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "forking " + id, e.getCause());
    } finally {
      host.remove(moment);
    }
  }

  private static HostedSpec like(
      HostedSpec source, Duration timeout, Map<String, String> attributes) {
    return new HostedSpec(
        source.snapshot(),
        timeout,
        source.metadata(),
        source.env(),
        attributes,
        source.atEnd(),
        source.resumesBySelf(),
        source.secured());
  }

  private HostedOutcome outcome(HostedSpec spec, Tag moment) {
    try {
      return new HostedOutcome.Made(create(spec, moment));
    } catch (ForkdException e) {
      return new HostedOutcome.Failed(e.code(), e.message());
    }
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

  private void arm(Hosted hosted) {
    // Rounded up: what comes a moment before the end would find that it has not come.
    long millis = Math.max(0, Duration.between(clock.instant(), hosted.end()).toMillis()) + 1;
    arm(hosted, millis);
  }

  private void arm(Hosted hosted, long millis) {
    later(hosted, millis, () -> atEnd(hosted));
  }

  /** Takes the place of what was to be done later before. */
  private void later(Hosted hosted, long millis, Runnable work) {
    try {
      hosted.alarm(
          Optional.of(
              alarms.schedule(
                  () -> {
                    var _ = Threads.virtual("end-" + hosted.id(), work);
                  },
                  millis,
                  TimeUnit.MILLISECONDS)));
    } catch (RejectedExecutionException e) {
      // We are closed: the next process sees to it.
      LOG.log(System.Logger.Level.DEBUG, "no alarm for {0}: {1}", hosted.id(), e.getMessage());
    }
  }

  /** Its end has come, unless it was moved meanwhile. */
  private void atEnd(Hosted hosted) {
    // Whoever was answered that its end was moved had its turn before this one.
    try (Hosted.Turn _ = hosted.turn()) {
      if (!isOver(hosted)) {
        if (hosted.sandbox().isPresent()) {
          // The clock was set back: the end is to come by it.
          arm(hosted);
        }
        return;
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
      arm(hosted, END_RETRY.toMillis());
    }
  }

  private boolean isOver(Hosted hosted) {
    return hosted.sandbox().isPresent() && !clock.instant().isBefore(hosted.end());
  }

  private void save(Hosted hosted, boolean durable) {
    HostedRow row = hosted.row();
    if (durable) {
      store.putHosted(row);
      return;
    }
    boolean _ =
        store.untilHostStops(tx -> {
          tx.putHosted(row);
          return true;
        });
  }

  private static Duration bounded(Duration timeout) {
    if (timeout.isNegative()) {
      return Duration.ZERO;
    }
    return timeout.compareTo(TIMEOUT_MAX) > 0 ? TIMEOUT_MAX : timeout;
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
    alarms.shutdownNow();
  }
}
