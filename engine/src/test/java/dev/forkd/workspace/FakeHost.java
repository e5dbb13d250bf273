package dev.forkd.workspace;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.fault.FaultPoint;
import dev.forkd.state.StateStore;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Sandboxes and snapshots that are a number each, which is what must not be lost. They outlive the
 * process that made them, as VMs and files do.
 */
public final class FakeHost implements WorkspaceHost {
  /** What is in a sandbox, by id. */
  public final Map<SandboxId, Integer> sandboxes = new ConcurrentSkipListMap<>();

  /** What is in a snapshot, by tag. */
  public final Map<Tag, Integer> snapshots = new ConcurrentSkipListMap<>();

  final Map<SandboxId, OptionalLong> limits = new ConcurrentSkipListMap<>();

  /** Those that are there, and do not live for who asks. */
  public final Set<SandboxId> failed = new ConcurrentSkipListSet<>();

  final Set<Tag> unusable = new ConcurrentSkipListSet<>();
  final Set<Tag> parents = new ConcurrentSkipListSet<>();

  /** Made of the disk of another snapshot. */
  public final Set<Tag> rebooted = new ConcurrentSkipListSet<>();

  private final Map<Tag, SandboxId> branchedFrom = new ConcurrentSkipListMap<>();
  private final AtomicInteger counter = new AtomicInteger();

  /** The process that uses the host now. */
  private StateStore store;

  private FaultPoint fault = _ -> {};
  public boolean failFork;
  public boolean failSave;
  public boolean failKill;
  Runnable duringSave = () -> {};
  Runnable whenAskedForLife = () -> {};

  public FakeHost(StateStore store) {
    this.store = store;
    snapshots.put(new Tag("python"), 0);
  }

  public void usedBy(StateStore newStore, FaultPoint newFault) {
    store = newStore;
    fault = newFault;
  }

  /** The machine was switched off. */
  public void loseSandboxes() {
    sandboxes.clear();
  }

  @Override
  public SandboxId fork(Tag snapshot, OptionalLong memoryLimitMib, Claim claim) {
    Integer content = snapshots.get(snapshot);
    if (content == null) {
      throw new ForkdException(ErrorCode.NOT_FOUND, "no snapshot " + snapshot);
    }
    SandboxId id = new SandboxId("sb%012x".formatted(counter.incrementAndGet()));
    store.inTransaction(tx -> {
      claim.claim(tx, id);
      return true;
    });
    fault.reach("host.fork");
    if (failFork) {
      throw new ForkdException(ErrorCode.RESOURCE_EXHAUSTED, "no memory");
    }
    sandboxes.put(id, content);
    limits.put(id, memoryLimitMib);
    return id;
  }

  @Override
  public Optional<Living> living(SandboxId id) {
    whenAskedForLife.run();
    return sandboxes.containsKey(id) && !failed.contains(id)
        ? Optional.of(new Living(id, Optional.empty()))
        : Optional.empty();
  }

  @Override
  public void kill(SandboxId id) {
    if (failKill) {
      throw new ForkdException(ErrorCode.INTERNAL, "a cgroup cannot be removed");
    }
    sandboxes.remove(id);
  }

  @Override
  public Hold hold(SandboxId id) {
    return new Hold() {
      @Override
      public void save(Tag tag, boolean diff) {
        duringSave.run();
        if (snapshots.containsKey(tag)) {
          throw new ForkdException(ErrorCode.ALREADY_EXISTS, "snapshot " + tag + " exists");
        }
        fault.reach("host.save");
        if (failSave) {
          throw new ForkdException(ErrorCode.RESOURCE_EXHAUSTED, "disk full");
        }
        snapshots.put(tag, sandboxes.get(id));
        branchedFrom.put(tag, id);
      }

      @Override
      public void close() {}
    };
  }

  @Override
  public void reboot(Tag from, Tag to) {
    fault.reach("host.reboot");
    if (failSave) {
      throw new ForkdException(ErrorCode.DEADLINE_EXCEEDED, "the guest does not come up");
    }
    snapshots.put(to, snapshots.get(from));
    rebooted.add(to);
    fault.reach("host.rebooted");
  }

  @Override
  public Optional<Saved> snapshot(Tag tag) {
    return snapshots.containsKey(tag)
        ? Optional.of(
            new Saved(
                tag,
                Optional.ofNullable(branchedFrom.get(tag)),
                !unusable.contains(tag),
                Path.of("/snapshots", tag.value())))
        : Optional.empty();
  }

  @Override
  public boolean remove(Tag tag) {
    if (parents.contains(tag)) {
      return false;
    }
    snapshots.remove(tag);
    return true;
  }
}
