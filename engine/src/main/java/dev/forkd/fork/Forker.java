package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.ChildOutcome;
import dev.forkd.engine.ForkSpec;
import dev.forkd.linux.CgroupSupport;
import dev.forkd.memory.MemoryStore;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.state.DataDir;
import dev.forkd.state.StateStore;
import dev.forkd.state.Tx;
import dev.forkd.vmm.Vmm;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Makes children of a snapshot: one outcome each, or all of them or none. */
public final class Forker {
  /** A big fork's children wait for a core one after the other. */
  private static final Duration VERIFY_PATIENCE = Duration.ofMinutes(5);

  /** What forking needs of the engine. */
  public record Parts(
      DataDir dir,
      StateStore store,
      ImageLedger ledger,
      MemoryStore memory,
      DiskLayers layers,
      SnapshotCatalog snapshots,
      Sandboxes sandboxes,
      Vmm vmm,
      HostProfile host,
      CgroupSupport cgroups,
      Zygotes zygotes,
      Sandbox.AgentConnector agents,
      Sandbox.Shared shared) {}

  /** Children that were forked before somebody asked for them. */
  public interface Ahead {
    /**
     * Takes some out of those that wait; the caller owns them from now on.
     *
     * @param count most that are wanted
     * @param prewarmed only those that have worked once
     */
    List<Sandbox> take(SnapshotManifest manifest, int count, boolean prewarmed);

    /** Takes back what could not be handed out. */
    void giveBack(List<Sandbox> untouched);
  }

  private static final Ahead NOTHING_AHEAD =
      new Ahead() {
        @Override
        public List<Sandbox> take(SnapshotManifest manifest, int count, boolean prewarmed) {
          return List.of();
        }

        @Override
        public void giveBack(List<Sandbox> untouched) {}
      };

  private final Parts parts;
  private final Births births;
  private final ChildStart children;
  private final ExecutorService starters;
  private final AtomicInteger underWay = new AtomicInteger();
  private volatile Ahead ahead = NOTHING_AHEAD;

  /**
   * @param starters runs starts and first requests; its size bounds how many run at once
   */
  public Forker(Parts parts, ExecutorService starters) {
    this.parts = parts;
    this.births = new Births(parts);
    this.children = new ChildStart(parts);
    this.starters = starters;
  }

  /** From now on children are taken from there first. */
  public void use(Ahead source) {
    ahead = source;
  }

  /** Whether somebody waits for children. */
  public boolean busy() {
    return underWay.get() > 0;
  }

  /** About what a child takes of the host's memory. */
  public long childBytes() {
    return births.childBytes();
  }

  /** Writes down whose children they are, in the transaction that writes down the children. */
  @FunctionalInterface
  public interface Claim {
    void claim(Tx tx, List<SandboxId> ids);
  }

  /** See {@link dev.forkd.engine.ForkdEngine#fork}. */
  public List<ChildOutcome> fork(ForkSpec spec) {
    return checked(spec, Optional.empty());
  }

  /**
   * The same for somebody who must find them again after a crash.
   *
   * @param claim runs before any process is made; when it throws, nothing was made
   */
  public List<ChildOutcome> fork(ForkSpec spec, Claim claim) {
    return checked(spec, Optional.of(claim));
  }

  private List<ChildOutcome> checked(ForkSpec spec, Optional<Claim> claim) {
    check(spec);
    SnapshotManifest manifest = parts.snapshots().bootable(spec.snapshot());
    parts.host().check(manifest);
    underWay.incrementAndGet();
    try {
      return fork(spec, manifest, claim);
    } finally {
      underWay.decrementAndGet();
    }
  }

  private List<ChildOutcome> fork(ForkSpec spec, SnapshotManifest manifest, Optional<Claim> claim) {
    // Those that wait have no limits of their own.
    List<Sandbox> ready =
        spec.memoryLimitMib().isPresent()
            ? List.of()
            : ahead.take(manifest, spec.count(), spec.prewarm());
    List<SandboxRecord> records = new ArrayList<>();
    for (int i = ready.size(); i < spec.count(); i++) {
      records.add(ChildStart.newRecord(spec, manifest));
    }
    List<ChildOutcome> outcomes = startAll(ready, records, manifest, claim);
    if (spec.certify() || spec.prewarm()) {
      outcomes = verify(outcomes, spec.prewarm());
    }
    List<ChildOutcome> all =
        spec.certify()
            ? each(ready, this::certified)
            : ready.stream()
                .<ChildOutcome>map(child -> new ChildOutcome.Started(child.view(false)))
                .collect(Collectors.toCollection(ArrayList::new));
    all.addAll(outcomes);
    return spec.partial() ? all : allOrNothing(all);
  }

  private ChildOutcome certified(Sandbox child) {
    return child.record().certificate().state() == Certificate.State.VERIFIED
        ? new ChildOutcome.Started(child.view(false))
        : verify(child.id(), false);
  }

  /** Hands out those that are ready and makes the others; gives the outcomes of the others. */
  private List<ChildOutcome> startAll(
      List<Sandbox> ready,
      List<SandboxRecord> records,
      SnapshotManifest manifest,
      Optional<Claim> claim) {
    long nowMillis = System.currentTimeMillis();
    ready.forEach(child -> child.handOut(nowMillis / 1000));
    Claim all =
        (tx, ids) -> {
          ready.forEach(child -> ChildStart.handOut(tx, child, nowMillis));
          claim.ifPresent(whose ->
              whose.claim(
                  tx, Stream.concat(ready.stream().map(Sandbox::id), ids.stream()).toList()));
        };
    boolean handedOut = false;
    // Children of nobody mean nothing once the host has stopped.
    boolean durable = claim.isPresent();
    try {
      List<ChildOutcome> outcomes = List.of();
      if (records.isEmpty()) {
        children.reserve(records, all, durable);
      } else {
        outcomes =
            births.of(
                manifest,
                records.size(),
                birth -> {
                  children.reserve(records, all, durable);
                  return each(records, record -> start(record, birth));
                });
        settle(outcomes);
      }
      handedOut = true;
      ready.forEach(parts.sandboxes()::add);
      return outcomes;
    } finally {
      if (!handedOut) {
        ahead.giveBack(ready);
      }
    }
  }

  /**
   * Makes one child that is not listed and belongs to the caller.
   *
   * @param prewarm run its handshake and one evaluation
   */
  public Sandbox startAhead(SnapshotManifest manifest, boolean prewarm) {
    parts.host().check(manifest);
    ForkSpec one =
        new ForkSpec(
            new Tag(manifest.tag()), 1, OptionalLong.empty(), false, false, false, "emulation");
    SandboxRecord record = ChildStart.newRecord(one, manifest);
    Sandbox child =
        births.of(
            manifest,
            1,
            birth -> {
              children.reserve(List.of(record), (_, _) -> {}, false);
              return children.begin(record, birth);
            });
    if (prewarm) {
      try (Sandbox.Session session = child.enter(VERIFY_PATIENCE)) {
        Prewarm.run(session.agent(), manifest.rehearsals().orElse(List.of()));
      } catch (RuntimeException e) {
        discard(child.id(), () -> parts.sandboxes().end(child));
        throw e;
      }
    }
    return child;
  }

  private void check(ForkSpec spec) {
    if (spec.count() < 1 || spec.count() > ForkSpec.MAX_COUNT) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "n must be 1 to " + ForkSpec.MAX_COUNT + ", not " + spec.count());
    }
    if (spec.minIsolation().equals("kvm") && !parts.host().isolation().equals("kvm")) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "min_isolation 'kvm' cannot be given here: this host runs guests by emulation"
              + " (forkd doctor says why)");
    }
    if (!spec.minIsolation().equals("kvm") && !spec.minIsolation().equals("emulation")) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "min_isolation '" + spec.minIsolation() + "' is neither 'kvm' nor 'emulation'");
    }
    if (spec.memoryLimitMib().isPresent()) {
      if (spec.memoryLimitMib().getAsLong() < 1) {
        throw new ForkdException(
            ErrorCode.INVALID_ARGUMENT,
            "memory_limit_mib must be at least 1, not " + spec.memoryLimitMib().getAsLong());
      }
      if (parts.cgroups() instanceof CgroupSupport.None(String reason)) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION, "memory_limit_mib cannot be enforced here: " + reason);
      }
    }
  }

  private ChildOutcome start(SandboxRecord reserved, Births.Birth birth) {
    try {
      Sandbox sandbox = children.begin(reserved, birth);
      parts.sandboxes().add(sandbox);
      return new ChildOutcome.Started(sandbox.view(false));
    } catch (ForkdException e) {
      return new ChildOutcome.Failed(e.code(), e.message());
    }
  }

  /** The rows of all that were started, together. One may have been killed by now. */
  private void settle(List<ChildOutcome> outcomes) {
    int _ =
        parts
            .store()
            .untilHostStops(tx -> {
              for (ChildOutcome outcome : outcomes) {
                if (outcome instanceof ChildOutcome.Started(var view)) {
                  parts
                      .sandboxes()
                      .find(view.id())
                      .ifPresent(child -> ChildStart.settle(tx, child));
                }
              }
              return outcomes.size();
            });
  }

  private List<ChildOutcome> verify(List<ChildOutcome> outcomes, boolean prewarm) {
    return each(
        outcomes,
        outcome ->
            switch (outcome) {
              case ChildOutcome.Failed failed -> failed;
              case ChildOutcome.Started(var view) -> verify(view.id(), prewarm);
            });
  }

  private ChildOutcome verify(SandboxId id, boolean prewarm) {
    Sandbox sandbox = parts.sandboxes().get(id);
    try (Sandbox.Session session = sandbox.enter(VERIFY_PATIENCE)) {
      if (prewarm) {
        Prewarm.run(
            session.agent(),
            parts
                .snapshots()
                .find(new Tag(sandbox.record().snapshot()))
                .flatMap(SnapshotManifest::rehearsals)
                .orElse(List.of()));
      }
      return new ChildOutcome.Started(sandbox.view(false));
    } catch (ForkdException e) {
      discard(id, () -> parts.sandboxes().kill(id));
      return new ChildOutcome.Failed(e.code(), e.message());
    }
  }

  /** What made it necessary is what the caller has to know, not that this failed too. */
  private static void discard(SandboxId id, Runnable removal) {
    try {
      removal.run();
    } catch (ForkdException e) {
      System.getLogger(Forker.class.getName())
          .log(System.Logger.Level.WARNING, "remove child {0}: {1}", id, e.message());
    }
  }

  private List<ChildOutcome> allOrNothing(List<ChildOutcome> outcomes) {
    Optional<ChildOutcome.Failed> failure =
        outcomes.stream()
            .filter(ChildOutcome.Failed.class::isInstance)
            .map(ChildOutcome.Failed.class::cast)
            .findFirst();
    if (failure.isEmpty()) {
      return outcomes;
    }
    long failed = outcomes.stream().filter(ChildOutcome.Failed.class::isInstance).count();
    for (ChildOutcome outcome : outcomes) {
      if (outcome instanceof ChildOutcome.Started(var view)) {
        discard(view.id(), () -> parts.sandboxes().kill(view.id()));
      }
    }
    throw new ForkdException(
        failure.get().code(),
        failed
            + " of "
            + outcomes.size()
            + " children could not be forked, so none was kept; the first one: "
            + failure.get().message());
  }

  /** Runs {@code work} for each, some at a time, and keeps the order. */
  private <A> List<ChildOutcome> each(List<A> inputs, Function<A, ChildOutcome> work) {
    List<Future<ChildOutcome>> futures =
        inputs.stream().map(input -> starters.submit(() -> work.apply(input))).toList();
    List<ChildOutcome> outcomes = new ArrayList<>();
    for (Future<ChildOutcome> future : futures) {
      outcomes.add(result(future));
    }
    return outcomes;
  }

  private static ChildOutcome result(Future<ChildOutcome> future) {
    try {
      return future.get();
    } catch (ExecutionException e) {
      return e.getCause() instanceof ForkdException known
          ? new ChildOutcome.Failed(known.code(), known.message())
          : new ChildOutcome.Failed(ErrorCode.INTERNAL, String.valueOf(e.getCause()));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return new ChildOutcome.Failed(ErrorCode.CANCELLED, "interrupted while forking");
    }
  }
}
