package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.ChildOutcome;
import dev.forkd.engine.ForkSpec;
import dev.forkd.linux.Cgroup;
import dev.forkd.linux.CgroupSupport;
import dev.forkd.memory.HostMemory;
import dev.forkd.memory.MemoryStore;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.snapshot.Layers;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.state.DataDir;
import dev.forkd.state.SandboxRow;
import dev.forkd.state.SandboxState;
import dev.forkd.state.StateStore;
import dev.forkd.state.Tx;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import dev.forkd.vmm.Vmm;
import java.io.IOException;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Function;
import java.util.function.LongConsumer;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Makes children of a snapshot: one outcome each, or all of them or none. */
public final class Forker {
  /** What a restored child takes at first: its VMM, and the pages it touches. Measured 33 to 44. */
  private static final long RESTORED_BYTES = 44L << 20;

  /**
   * A copied one shares all that with its zygote until it writes. Measured 1.2, 10 after an eval.
   */
  private static final long COPIED_BYTES = 12L << 20;

  /** A big fork's children wait for a core one after the other. */
  private static final Duration VERIFY_PATIENCE = Duration.ofMinutes(5);

  private static final SecureRandom RANDOM = new SecureRandom();

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
  private final ExecutorService starters;
  private final AtomicInteger underWay = new AtomicInteger();
  private volatile Ahead ahead = NOTHING_AHEAD;

  /**
   * @param starters runs starts and first requests; its size bounds how many run at once
   */
  public Forker(Parts parts, ExecutorService starters) {
    this.parts = parts;
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
    return parts.zygotes().obstacle().isEmpty() ? COPIED_BYTES : RESTORED_BYTES;
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
      records.add(newRecord(spec, manifest));
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
          ready.forEach(child -> handOut(tx, child, nowMillis));
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
        reserve(records, all, durable);
      } else {
        outcomes =
            born(
                manifest,
                records.size(),
                birth -> {
                  reserve(records, all, durable);
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

  private static void handOut(Tx tx, Sandbox child, long nowMillis) {
    var process = child.vm().process();
    SandboxRow row = tx.findSandbox(child.id().value()).orElseThrow();
    tx.updateSandbox(
        new SandboxRow(
            row.id(),
            SandboxState.LIVE,
            row.snapshotTag(),
            process.pid(),
            process.startTicks(),
            nowMillis,
            row.memoryLimitMib(),
            child.record().toJson()));
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
    SandboxRecord record = newRecord(one, manifest);
    Sandbox child =
        born(
            manifest,
            1,
            birth -> {
              reserve(List.of(record), (_, _) -> {}, false);
              return begin(record, birth);
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

  /** Runs {@code work} with what children are born from. */
  private <T> T born(SnapshotManifest manifest, int children, Function<Birth, T> work) {
    Optional<Zygotes.Lease> zygote = parts.zygotes().lease(manifest);
    if (zygote.isPresent()) {
      try (Zygotes.Lease lease = zygote.get()) {
        requireMemory(children, COPIED_BYTES);
        return work.apply(new Copied(lease.zygote()));
      }
    }
    requireMemory(children, RESTORED_BYTES);
    try (MemoryStore.Lease memory = parts.memory().lease(manifest.memory())) {
      return work.apply(new Restored(manifest, memory));
    }
  }

  private static void requireMemory(int children, long bytes) {
    HostMemory.require(
        "forking " + children + " children of about " + (bytes >> 20) + " MiB", children * bytes);
  }

  /** Where a child's VM comes from. */
  private interface Birth {
    RunningVm start(VmName name, SandboxRecord record, DiskLayer overlay, LongConsumer started);

    /** The record of a child that began so. */
    SandboxRecord begun(SandboxRecord record);
  }

  /** From a zygote's process. */
  private record Copied(Zygote zygote) implements Birth {
    @Override
    public RunningVm start(
        VmName name, SandboxRecord record, DiskLayer overlay, LongConsumer started) {
      return zygote.fork(name, overlay, started);
    }

    @Override
    public SandboxRecord begun(SandboxRecord record) {
      Zygote.Origin origin = zygote.origin();
      return record
          .withMemory(origin.ramInode(), origin.mappedImage(), origin.token(), origin.frozen())
          .withDisk(zygote.disk().stream().map(Layers::ref).toList(), record.activeLayer());
    }
  }

  /** From the snapshot's files. */
  private final class Restored implements Birth {
    private final SnapshotManifest manifest;
    private final MemoryStore.Lease memory;

    Restored(SnapshotManifest manifest, MemoryStore.Lease memory) {
      this.manifest = manifest;
      this.memory = memory;
    }

    @Override
    public RunningVm start(
        VmName name, SandboxRecord record, DiskLayer overlay, LongConsumer started) {
      return parts
          .vmm()
          .restore(
              new RestoreSpec(
                  name,
                  new VmHardware(record.memoryMib()),
                  memory.memory(),
                  new DiskChain(
                      record.disk().stream().map(ref -> Layers.layer(ref, parts.layers())).toList(),
                      overlay),
                  parts.snapshots().devices(manifest.tag()),
                  started,
                  false));
    }

    @Override
    public SandboxRecord begun(SandboxRecord record) {
      return record.withMemory(
          memory.memory().inode(),
          manifest.memory().getFirst().id(),
          manifest.resyncToken(),
          manifest.frozen());
    }
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

  private SandboxRecord newRecord(ForkSpec spec, SnapshotManifest manifest) {
    return new SandboxRecord(
        "sb" + randomHex(6),
        manifest.tag(),
        manifest.platform(),
        System.currentTimeMillis() / 1000,
        manifest.memoryMib(),
        manifest.diskBytes(),
        0,
        Optional.empty(),
        manifest.memory(),
        manifest.disk(),
        "d" + randomHex(8),
        manifest.resyncToken(),
        randomHex(32),
        manifest.frozen(),
        spec.memoryLimitMib(),
        0,
        Optional.empty(),
        Optional.empty(),
        Certificate.pending());
  }

  /** Writes down what is about to exist, so that a sweep would find it. */
  private void reserve(List<SandboxRecord> records, Claim claim, boolean durable) {
    records.forEach(r -> parts.ledger().hold(Sandboxes.holder(r.id()), r.images()));
    Function<Tx, Integer> work =
        tx -> {
          records.forEach(r -> tx.insertSandbox(starting(r)));
          claim.claim(tx, records.stream().map(r -> new SandboxId(r.id())).toList());
          return records.size();
        };
    try {
      int _ = durable ? parts.store().inTransaction(work) : parts.store().untilHostStops(work);
    } catch (RuntimeException e) {
      for (SandboxRecord r : records) {
        parts.snapshots().removeImages(parts.ledger().release(Sandboxes.holder(r.id())));
      }
      throw e;
    }
  }

  private static SandboxRow starting(SandboxRecord record) {
    return new SandboxRow(
        record.id(),
        SandboxState.STARTING,
        record.snapshot(),
        0,
        0,
        record.createdAtUnix() * 1000,
        record.memoryLimitMib().isPresent()
            ? Optional.of(Math.toIntExact(record.memoryLimitMib().getAsLong()))
            : Optional.empty(),
        record.toJson());
  }

  private ChildOutcome start(SandboxRecord reserved, Birth birth) {
    try {
      Sandbox sandbox = begin(reserved, birth);
      parts.sandboxes().add(sandbox);
      return new ChildOutcome.Started(sandbox.view(false));
    } catch (ForkdException e) {
      return new ChildOutcome.Failed(e.code(), e.message());
    }
  }

  private Sandbox begin(SandboxRecord reserved, Birth birth) {
    Optional<Cgroup> cgroup = Optional.empty();
    SandboxRecord record = birth.begun(reserved);
    try {
      parts.ledger().hold(Sandboxes.holder(record.id()), record.images());
      VmName name = new VmName(record.id(), parts.dir().runtimeDir());
      DiskLayer overlay = parts.layers().newOverlay(record.activeLayer(), record.diskBytes());
      cgroup = limit(record);
      Optional<Cgroup> limited = cgroup;
      RunningVm vm =
          birth.start(name, record, overlay, pid -> limited.ifPresent(group -> join(group, pid)));
      return new Sandbox(
          record, vm, parts.agents(), false, parts.host().isolation(), cgroup, parts.shared());
    } catch (IOException | RuntimeException e) {
      cgroup.ifPresent(Forker::destroyQuietly);
      parts.sandboxes().remove(record.id());
      throw e instanceof ForkdException known
          ? known
          : new ForkdException(ErrorCode.INTERNAL, "fork " + record.id() + ": " + e, e);
    }
  }

  private Optional<Cgroup> limit(SandboxRecord record) throws IOException {
    if (record.memoryLimitMib().isEmpty()) {
      return Optional.empty();
    }
    return Optional.of(
        Cgroup.create(
            parts.cgroups(),
            parts.dir().cgroupName(record.id()),
            OptionalLong.of(record.memoryLimitMib().getAsLong() << 20),
            OptionalInt.empty()));
  }

  private static void join(Cgroup group, long pid) {
    try {
      group.add(pid);
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.INTERNAL, "put process " + pid + " into " + group + ": " + e.getMessage(), e);
    }
  }

  private static void destroyQuietly(Cgroup group) {
    try {
      group.destroy();
    } catch (IOException e) {
      // The sweep at the next start finds it by its name.
      return;
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
                  parts.sandboxes().find(view.id()).ifPresent(child -> settle(tx, child));
                }
              }
              return outcomes.size();
            });
  }

  private static void settle(Tx tx, Sandbox child) {
    var process = child.vm().process();
    tx.findSandbox(child.id().value())
        .ifPresent(row ->
            tx.updateSandbox(
                row.withProcess(process.pid(), process.startTicks())
                    .withState(SandboxState.LIVE)
                    .withDetail(child.record().toJson())));
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

  private static String randomHex(int bytes) {
    byte[] random = new byte[bytes];
    RANDOM.nextBytes(random);
    return HexFormat.of().formatHex(random);
  }
}
