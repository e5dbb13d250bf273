package dev.forkd.fork;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.memory.HostMemory;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotManifest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;

/**
 * The zygotes there are, at most one per snapshot, and who uses them. One that is not wanted any
 * more ends when nobody uses it.
 *
 * <p>Thread-safe. Its lock is held for a look or a change only: every fork needs it.
 */
final class ZygoteShelf {
  /** Each takes the translated code and the diverged pages of one VM, some 20 to 80 MiB. */
  private static final int MAX_ZYGOTES = 12;

  /** Below this no zygote is kept that nobody uses. */
  private static final long SCARCE_BYTES = 1L << 30;

  private static final System.Logger LOG = System.getLogger(ZygoteShelf.class.getName());

  private final MemoryStore memory;
  private final SnapshotCatalog snapshots;
  private final Consumer<String> forget;
  private final ReentrantLock lock = new ReentrantLock();

  /** In order of use, the least recently used first; guarded by the lock. */
  private final LinkedHashMap<String, Zygote> byTag = new LinkedHashMap<>(16, 0.75f, true);

  /** One for each tag whose zygote is being made; guarded by the lock. */
  private final Map<String, Making> making = new HashMap<>();

  /**
   * @param forget removes what a zygote without a process leaves; gets its id
   */
  ZygoteShelf(MemoryStore memory, SnapshotCatalog snapshots, Consumer<String> forget) {
    this.memory = memory;
    this.snapshots = snapshots;
    this.forget = forget;
  }

  /** The right to copy a zygote; close it when done. */
  final class Lease implements AutoCloseable {
    private final Zygote zygote;

    private Lease(Zygote zygote) {
      this.zygote = zygote;
    }

    Zygote zygote() {
      return zygote;
    }

    @Override
    public void close() {
      boolean end;
      lock.lock();
      try {
        end = zygote.leave();
      } finally {
        lock.unlock();
      }
      if (end) {
        end(zygote);
      }
    }
  }

  /** The turn to make the zygote of one tag; there is none for a tag that nobody waits for. */
  final class Making implements AutoCloseable {
    private final String tag;
    private final ReentrantLock turn = new ReentrantLock();

    /** Guarded by the shelf's lock. */
    private int users;

    private Making(String tag) {
      this.tag = tag;
    }

    /** Allowed only for the thread whose turn it is. */
    @Override
    public void close() {
      turn.unlock();
      lock.lock();
      try {
        if (--users == 0) {
          making.remove(tag);
        }
      } finally {
        lock.unlock();
      }
    }
  }

  /** Waits until nobody else makes the zygote of this tag. */
  Making making(String tag) {
    Making mine;
    lock.lock();
    try {
      mine = making.computeIfAbsent(tag, Making::new);
      mine.users++;
    } finally {
      lock.unlock();
    }
    mine.turn.lock();
    return mine;
  }

  /** The tags whose zygotes are being made at the moment. */
  Set<String> beingMade() {
    lock.lock();
    try {
      return Set.copyOf(making.keySet());
    } finally {
      lock.unlock();
    }
  }

  /** A changed file must not go unnoticed because a zygote in memory needs none. */
  Optional<Lease> find(SnapshotManifest manifest) {
    if (!memory.unchanged(manifest.memory())) {
      return Optional.empty();
    }
    Optional<Lease> found = use(manifest);
    if (found.isPresent() && !found.get().zygote().alive()) {
      try (Lease dead = found.get()) {
        drop(dead.zygote());
      }
      return Optional.empty();
    }
    return found;
  }

  private Optional<Lease> use(SnapshotManifest manifest) {
    lock.lock();
    try {
      Zygote zygote = byTag.get(manifest.tag());
      return zygote != null && zygote.manifest().equals(manifest) && zygote.use()
          ? Optional.of(new Lease(zygote))
          : Optional.empty();
    } finally {
      lock.unlock();
    }
  }

  /** Nobody gets it from now on; it ends with the last lease, of which the caller has one. */
  private void drop(Zygote zygote) {
    lock.lock();
    try {
      byTag.remove(zygote.manifest().tag(), zygote);
      boolean _ = zygote.retire();
    } finally {
      lock.unlock();
    }
  }

  /** Takes it in, in the place of another of its tag and of those that are too many. */
  void register(Zygote zygote) {
    List<Zygote> ending = new ArrayList<>();
    lock.lock();
    try {
      Zygote before = byTag.put(zygote.manifest().tag(), zygote);
      if (before != null && before.retire()) {
        ending.add(before);
      }
      boolean scarce = HostMemory.availableBytes() < SCARCE_BYTES;
      List<Zygote> oldest = List.copyOf(byTag.values());
      for (Zygote other : oldest) {
        boolean tooMany = byTag.size() > MAX_ZYGOTES || scarce;
        if (tooMany && other != zygote) {
          byTag.remove(other.manifest().tag());
          if (other.retire()) {
            ending.add(other);
          }
        }
      }
    } finally {
      lock.unlock();
    }
    ending.forEach(this::end);
  }

  /** Ends the zygotes of snapshots that are no longer there. */
  void prune() {
    List<Zygote> ending = new ArrayList<>();
    lock.lock();
    try {
      byTag
          .values()
          .removeIf(zygote -> {
            boolean stays =
                snapshots
                    .find(new Tag(zygote.manifest().tag()))
                    .filter(zygote.manifest()::equals)
                    .isPresent();
            if (!stays && zygote.retire()) {
              ending.add(zygote);
            }
            return !stays;
          });
    } finally {
      lock.unlock();
    }
    ending.forEach(this::end);
  }

  /** Ends all of them; one that is in use ends with that. */
  void endAll() {
    List<Zygote> ending = new ArrayList<>();
    lock.lock();
    try {
      for (Zygote zygote : byTag.values()) {
        if (zygote.retire()) {
          ending.add(zygote);
        }
      }
      byTag.clear();
    } finally {
      lock.unlock();
    }
    ending.forEach(this::end);
  }

  private void end(Zygote zygote) {
    try {
      zygote.end();
    } catch (ForkdException e) {
      LOG.log(System.Logger.Level.WARNING, "end zygote {0}: {1}", zygote.id(), e.message());
    }
    forget.accept(zygote.id());
  }
}
