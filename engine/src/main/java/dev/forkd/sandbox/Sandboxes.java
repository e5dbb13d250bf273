package dev.forkd.sandbox;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.disk.DiskLayers;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.state.SandboxRow;
import dev.forkd.state.SandboxState;
import dev.forkd.state.StateStore;
import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.function.Supplier;

/** The sandboxes that live now, by id, and the removal of all that one of them holds. */
public final class Sandboxes {
  private static final System.Logger LOG = System.getLogger(Sandboxes.class.getName());

  private final StateStore store;
  private final ImageLedger ledger;
  private final MemoryStore memory;
  private final DiskLayers layers;
  private final ConcurrentSkipListMap<SandboxId, Sandbox> live = new ConcurrentSkipListMap<>();

  /** Sandboxes that are gone and whose rows could not be removed. */
  private final Set<String> stale = new ConcurrentSkipListSet<>();

  public Sandboxes(StateStore store, ImageLedger ledger, MemoryStore memory, DiskLayers layers) {
    this.store = store;
    this.ledger = ledger;
    this.memory = memory;
    this.layers = layers;
  }

  public Collection<Sandbox> all() {
    return List.copyOf(live.values());
  }

  public int size() {
    return live.size();
  }

  /**
   * @throws ForkdException NOT_FOUND
   */
  public Sandbox get(SandboxId id) {
    Sandbox sandbox = live.get(id);
    if (sandbox == null) {
      throw notFound(id);
    }
    return sandbox;
  }

  public Optional<Sandbox> find(SandboxId id) {
    return Optional.ofNullable(live.get(id));
  }

  private static ForkdException notFound(SandboxId id) {
    return new ForkdException(
        ErrorCode.NOT_FOUND, "sandbox '" + id + "' does not exist; forkd ls lists those that do");
  }

  public void add(Sandbox sandbox) {
    live.put(sandbox.id(), sandbox);
  }

  /**
   * Writes a sandbox's record to its row.
   *
   * @param current read when its turn to be written has come, so that the last one written is the
   *     last there was
   */
  public void save(String id, Supplier<SandboxRecord> current) {
    boolean _ =
        store.untilHostStops(tx -> {
          Optional<SandboxRow> found = tx.findSandbox(id);
          found.ifPresent(row -> {
            SandboxRecord record = current.get();
            SandboxState state =
                record.failure().isPresent() && row.state() == SandboxState.LIVE
                    ? SandboxState.FAILED
                    : row.state();
            tx.updateSandbox(row.withDetail(record.toJson()).withState(state));
          });
          return found.isPresent();
        });
  }

  /** Who holds a sandbox's images, in the ledger. */
  public static String holder(String id) {
    return "sandbox " + id;
  }

  /**
   * Ends a sandbox and removes all it holds. It stays listed, and says that it is being killed,
   * until nothing is left of it: when this throws, calling it again goes on where it failed.
   *
   * @throws ForkdException NOT_FOUND; UNAVAILABLE when its process or its cgroup does not go away
   */
  public void kill(SandboxId id) {
    Sandbox sandbox = get(id);
    end(sandbox);
    if (!live.remove(id, sandbox)) {
      throw notFound(id);
    }
  }

  /** The same for one that is not listed. */
  public void end(Sandbox sandbox) {
    String id = sandbox.id().value();
    tryToWrite(
        "note that " + id + " is being removed",
        () ->
            store
                .findSandbox(id)
                .ifPresent(row -> store.updateSandbox(row.withState(SandboxState.KILLING))));
    sandbox.kill();
    remove(id);
  }

  /**
   * Removes the files, the images nobody else needs and the row of a sandbox without a process.
   * Files first: on a full disk there is room to remove the row only afterwards. What cannot be
   * removed is told in the log and owned by nobody from now on: a row is tried again whenever
   * another is removed, and the next start sweeps up both.
   */
  public void remove(String id) {
    letGo(id);
    stale.add(id);
    removeStaleRows();
  }

  /** Removes the files and the images nobody else needs; its row stays. */
  public void letGo(String id) {
    for (String image : ledger.release(holder(id))) {
      tryToWrite("delete memory image " + image + " of " + id, () -> memory.delete(image));
      tryToWrite("delete disk layer " + image + " of " + id, () -> layers.delete(image));
    }
  }

  /** Tries again to remove the rows of sandboxes that are gone. */
  public void removeStaleRows() {
    for (String id : List.copyOf(stale)) {
      if (tryToWrite("delete the row of sandbox " + id, () -> store.deleteSandbox(id))) {
        stale.remove(id);
      } else {
        // The store is out of order: it will be no different with the next.
        return;
      }
    }
  }

  /** Whether it succeeded. A removal does not stop because something cannot be written down. */
  private static boolean tryToWrite(String what, Runnable work) {
    try {
      work.run();
      return true;
    } catch (ForkdException e) {
      LOG.log(System.Logger.Level.WARNING, "{0}: {1}", what, e.message());
      return false;
    }
  }
}
