package dev.forkd.pool;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
import dev.forkd.engine.EngineStats;
import dev.forkd.engine.PoolView;
import dev.forkd.engine.Pools;
import dev.forkd.fork.Forker;
import dev.forkd.memory.HostMemory;
import dev.forkd.pool.Pool.Child;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.state.PoolRow;
import dev.forkd.state.StateStore;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;

/**
 * Keeps the pools full. One thread forks ahead, one child after the other, and only while nobody
 * else wants the cores: no fork is under way and no request waits for a turn. It stops when memory
 * gets short, and gives children back when it is.
 *
 * <p>A child that waits is a sandbox like any other, except that it is not among {@link Sandboxes}
 * and its row still says {@code STARTING}: whoever finds it after a crash undoes it.
 */
public final class PoolKeeper implements Pools, Forker.Ahead, AutoCloseable {
  /** Whoever got a child asks it something at once: the next one begins after that. */
  private static final Duration QUIET = Duration.ofMillis(20);

  /** Between two looks whether the cores are free. */
  private static final Duration BUSY_POLL = Duration.ofMillis(20);

  /** Between two looks at the host's memory while children wait. */
  private static final Duration PRESSURE_POLL = Duration.ofSeconds(1);

  private static final Duration FAILURE_PAUSE_MAX = Duration.ofMinutes(1);
  private static final Duration CLOSE_PATIENCE = Duration.ofSeconds(30);
  private static final int ENDERS = 4;
  private static final System.Logger LOG = System.getLogger(PoolKeeper.class.getName());

  /**
   * What it needs of the engine.
   *
   * @param contended whether requests want all the cores
   */
  public record Parts(
      StateStore store,
      SnapshotCatalog snapshots,
      Sandboxes sandboxes,
      Forker forker,
      BooleanSupplier contended) {}

  private final Parts parts;
  private final ExecutorService enders = Threads.virtualExecutor("pool-end", ENDERS);
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final TreeMap<String, Pool> pools = new TreeMap<>();
  private long hits;
  private long misses;
  private long handedOutNanos;
  private int failures;
  private long changes;
  private long changesSeen;
  private Optional<Thread> refiller = Optional.empty();
  private boolean closed;

  public PoolKeeper(Parts parts) {
    this.parts = parts;
    this.handedOutNanos = System.nanoTime() - QUIET.toNanos();
  }

  /** Takes up the stored pools and begins to fill them. */
  public void start() {
    for (PoolRow row : parts.store().listPools()) {
      if (parts.snapshots().contains(new Tag(row.tag()))) {
        pools.put(row.tag(), new Pool(new Tag(row.tag()), row.size(), row.prewarm()));
      } else {
        parts.store().deletePool(row.tag());
      }
    }
    refiller = Optional.of(Threads.virtual("pool", this::refill));
  }

  @Override
  public List<PoolView> list() {
    lock.lock();
    try {
      return pools.values().stream().map(Pool::view).toList();
    } finally {
      lock.unlock();
    }
  }

  @Override
  public PoolView get(Tag tag) {
    var _ = parts.snapshots().get(tag);
    lock.lock();
    try {
      Pool pool = pools.get(tag.value());
      return pool == null ? new PoolView(tag, 0, false, 0, 0) : pool.view();
    } finally {
      lock.unlock();
    }
  }

  @Override
  public PoolView set(Tag tag, int size, boolean prewarm) {
    if (size < 0 || size > MAX_SIZE) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "size is " + size + "; it must be 0 to " + MAX_SIZE);
    }
    SnapshotManifest manifest = parts.snapshots().bootable(tag);
    requireMemory(tag, size, prewarm);
    if (size == 0) {
      parts.store().deletePool(tag.value());
    } else {
      parts.store().putPool(new PoolRow(tag.value(), size, prewarm));
    }
    List<Child> ending;
    PoolView view;
    lock.lock();
    try {
      Pool next = new Pool(tag, size, prewarm);
      Pool before = pools.remove(tag.value());
      if (before != null) {
        next.ready.addAll(before.ready);
      }
      ending =
          next.surplus(child -> child.manifest().equals(manifest) && child.prewarmed() == prewarm);
      if (size > 0) {
        pools.put(tag.value(), next);
      }
      failures = 0;
      change();
      view = next.view();
    } finally {
      lock.unlock();
    }
    end(ending);
    return view;
  }

  /** All pools together must fit, with what they still lack. */
  private void requireMemory(Tag tag, int size, boolean prewarm) {
    long lacking;
    lock.lock();
    try {
      Pool before = pools.get(tag.value());
      int have =
          before == null
              ? 0
              : (int) before.ready.stream().filter(c -> c.prewarmed() == prewarm).count();
      long others =
          pools.values().stream().filter(p -> !p.tag.equals(tag)).mapToInt(Pool::missing).sum();
      lacking = Math.max(0, size - have) + (size == 0 ? 0 : others);
    } finally {
      lock.unlock();
    }
    if (lacking > 0) {
      long bytes = parts.forker().childBytes();
      HostMemory.require(
          "a pool of "
              + size
              + " children of '"
              + tag
              + "', with "
              + lacking
              + " still to fork in all pools at about "
              + (bytes >> 20)
              + " MiB each,",
          lacking * bytes);
    }
  }

  @Override
  public List<Sandbox> take(SnapshotManifest manifest, int count, boolean prewarmed) {
    List<Child> dead = new ArrayList<>();
    List<Sandbox> taken = new ArrayList<>();
    lock.lock();
    try {
      Pool pool = pools.get(manifest.tag());
      if (pool == null) {
        return List.of();
      }
      dead.addAll(pool.surplus(child -> child.manifest().equals(manifest)));
      var each = pool.ready.iterator();
      while (taken.size() < count && each.hasNext()) {
        Child child = each.next();
        if (child.prewarmed() || !prewarmed) {
          taken.add(child.sandbox());
          each.remove();
        }
      }
      hits += taken.size();
      misses += count - taken.size();
      handedOutNanos = System.nanoTime();
      change();
    } finally {
      lock.unlock();
    }
    if (!dead.isEmpty()) {
      Threads.virtual("pool-dead", () -> end(dead));
    }
    return taken;
  }

  @Override
  public void giveBack(List<Sandbox> untouched) {
    endAll(untouched);
  }

  /** Ends what waits for snapshots that are gone, or were made again. */
  public void prune() {
    List<Child> ending = new ArrayList<>();
    List<String> gone = new ArrayList<>();
    lock.lock();
    try {
      for (Pool pool : List.copyOf(pools.values())) {
        Optional<SnapshotManifest> now = parts.snapshots().find(pool.tag);
        ending.addAll(pool.surplus(child -> now.filter(child.manifest()::equals).isPresent()));
        if (!parts.snapshots().contains(pool.tag)) {
          pools.remove(pool.tag.value());
          gone.add(pool.tag.value());
        }
      }
      change();
    } finally {
      lock.unlock();
    }
    gone.forEach(parts.store()::deletePool);
    end(ending);
  }

  /** Counts at this moment. */
  public EngineStats.Pool stats() {
    lock.lock();
    try {
      return new EngineStats.Pool(
          pools.values().stream().mapToInt(pool -> pool.ready.size()).sum(),
          pools.values().stream().mapToInt(pool -> pool.starting).sum(),
          hits,
          misses);
    } finally {
      lock.unlock();
    }
  }

  private void change() {
    changes++;
    changed.signalAll();
  }

  private void refill() {
    Duration pause = Duration.ZERO;
    while (await(pause)) {
      try {
        pause = step();
      } catch (RuntimeException e) {
        failures++;
        pause = failurePause();
        LOG.log(
            System.Logger.Level.WARNING,
            "forking ahead, next try in {0} s: {1}",
            pause.toSeconds(),
            e.getMessage());
      }
    }
  }

  private Duration failurePause() {
    Duration doubled = Duration.ofSeconds(1L << Math.min(failures, 6));
    return doubled.compareTo(FAILURE_PAUSE_MAX) < 0 ? doubled : FAILURE_PAUSE_MAX;
  }

  /** Waits, no longer than until something has changed; false at the end. */
  private boolean await(Duration pause) {
    lock.lock();
    try {
      long left = pause.toNanos();
      while (!closed && changes == changesSeen && left > 0) {
        left = changed.awaitNanos(left);
      }
      return !closed;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    } finally {
      lock.unlock();
    }
  }

  /** Does one thing, if there is one to do; gives the time until the next look. */
  private Duration step() {
    Optional<Pool> wanting;
    boolean waiting;
    Duration quiet;
    List<Child> dead = new ArrayList<>();
    lock.lock();
    try {
      changesSeen = changes;
      pools.values().forEach(pool -> dead.addAll(pool.surplus(_ -> true)));
      wanting =
          pools.values().stream()
              .filter(pool -> pool.missing() > 0)
              .min(Comparator.comparingDouble(pool -> (double) pool.ready.size() / pool.size));
      waiting = pools.values().stream().anyMatch(pool -> !pool.ready.isEmpty());
      quiet = QUIET.minusNanos(System.nanoTime() - handedOutNanos);
    } finally {
      lock.unlock();
    }
    end(dead);
    MemoryPressure pressure =
        waiting || wanting.isPresent() ? MemoryPressure.now() : MemoryPressure.NONE;
    if (pressure == MemoryPressure.HIGH) {
      giveSomeUp();
    }
    if (pressure != MemoryPressure.NONE) {
      return PRESSURE_POLL;
    }
    if (wanting.isEmpty()) {
      return waiting ? PRESSURE_POLL : Duration.ofHours(1);
    }
    if (quiet.isPositive()) {
      return quiet;
    }
    if (parts.forker().busy() || parts.contended().getAsBoolean()) {
      return BUSY_POLL;
    }
    startOne(wanting.get());
    return Duration.ZERO;
  }

  private void startOne(Pool pool) {
    Optional<SnapshotManifest> manifest = parts.snapshots().find(pool.tag);
    if (manifest.isEmpty()) {
      prune();
      if (parts.snapshots().contains(pool.tag)) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION, "'" + pool.tag + "' cannot be started now");
      }
      return;
    }
    lock.lock();
    try {
      pool.starting++;
    } finally {
      lock.unlock();
    }
    Optional<Sandbox> made = Optional.empty();
    try {
      made = Optional.of(parts.forker().startAhead(manifest.get(), pool.prewarm));
    } finally {
      settle(pool, manifest.get(), made);
    }
  }

  private void settle(Pool pool, SnapshotManifest manifest, Optional<Sandbox> made) {
    List<Child> late = new ArrayList<>();
    lock.lock();
    try {
      pool.starting--;
      if (made.isPresent()) {
        failures = 0;
        Child child = new Child(made.get(), manifest, pool.prewarm);
        if (closed || pools.get(pool.tag.value()) != pool) {
          late.add(child);
        } else {
          pool.ready.add(child);
        }
      }
    } finally {
      lock.unlock();
    }
    end(late);
  }

  /** A quarter of the largest pool, those first that wait shortest. */
  private void giveSomeUp() {
    List<Child> ending = new ArrayList<>();
    lock.lock();
    try {
      pools.values().stream()
          .max(Comparator.comparingInt(pool -> pool.ready.size()))
          .ifPresent(pool -> {
            for (int i = (pool.ready.size() + 3) / 4; i > 0; i--) {
              ending.add(pool.ready.removeLast());
            }
          });
    } finally {
      lock.unlock();
    }
    if (!ending.isEmpty()) {
      LOG.log(
          System.Logger.Level.INFO,
          "memory is short: {0} children that were forked ahead are given up",
          ending.size());
      end(ending);
    }
  }

  private void end(List<Child> children) {
    endAll(children.stream().map(Child::sandbox).toList());
  }

  private void endAll(List<Sandbox> sandboxes) {
    List<Future<?>> ends = new ArrayList<>();
    for (Sandbox sandbox : sandboxes) {
      ends.add(enders.submit(() -> parts.sandboxes().end(sandbox)));
    }
    for (var one : ends) {
      try {
        var _ = one.get(CLOSE_PATIENCE.toSeconds(), TimeUnit.SECONDS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        return;
      } catch (ExecutionException | TimeoutException e) {
        // Its row says STARTING or KILLING: the next start of the daemon removes it.
        LOG.log(System.Logger.Level.WARNING, "end a child that was forked ahead", e);
      }
    }
  }

  /** Ends all that waits: children that nobody asked for do not outlive the daemon. */
  @Override
  public void close() {
    List<Child> ending = new ArrayList<>();
    lock.lock();
    try {
      closed = true;
      pools.values().forEach(pool -> ending.addAll(pool.ready));
      pools.clear();
      change();
    } finally {
      lock.unlock();
    }
    end(ending);
    try {
      if (refiller.isPresent()) {
        var _ = refiller.get().join(CLOSE_PATIENCE);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    enders.shutdown();
  }
}
