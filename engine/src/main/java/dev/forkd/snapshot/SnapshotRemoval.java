package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.DeleteMode;
import dev.forkd.state.DataDir;
import dev.forkd.state.SnapshotRow;
import dev.forkd.state.SnapshotState;
import dev.forkd.state.StateStore;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;

/**
 * Deletes snapshots. What goes is chosen and marked in one step, so that no link can be made on it
 * any more; rows are marked in one transaction, so that the next daemon finishes what this one
 * began.
 */
final class SnapshotRemoval {
  private final DataDir dir;
  private final StateStore store;
  private final Entries entries;
  private final Consumer<String> letGo;

  /**
   * @param letGo removes the images that only this snapshot needed
   */
  SnapshotRemoval(DataDir dir, StateStore store, Entries entries, Consumer<String> letGo) {
    this.dir = dir;
    this.store = store;
    this.entries = entries;
    this.letGo = letGo;
  }

  /** See {@link dev.forkd.engine.ForkdEngine#deleteSnapshot}. */
  void delete(Tag tag, DeleteMode mode) {
    Map<String, Entry> doomed = entries.locked(all -> mark(all, tag.value(), mode));
    try {
      setState(doomed.keySet(), SnapshotState.DELETING);
      for (String one : List.copyOf(doomed.keySet())) {
        remove(one, doomed);
        doomed.remove(one);
      }
    } catch (ForkdException e) {
      giveBack(doomed, e);
      throw e;
    }
  }

  /** What has not been touched stays as it was. */
  private void giveBack(Map<String, Entry> untouched, ForkdException why) {
    untouched.forEach(entries::put);
    try {
      setState(untouched.keySet(), SnapshotState.READY);
    } catch (ForkdException e) {
      why.addSuppressed(e);
    }
  }

  private static Map<String, Entry> mark(Map<String, Entry> all, String tag, DeleteMode mode) {
    Entry entry = all.get(tag);
    if (entry == null || entry instanceof Entry.Deleting) {
      throw Entries.unknown(new Tag(tag));
    }
    if (entry instanceof Entry.Writing) {
      throw beingWritten(tag, "delete it when it is ready");
    }
    Chains chains = new Chains(all);
    List<String> children =
        chains.children(tag).stream()
            .filter(child -> !(all.get(child) instanceof Entry.Deleting))
            .toList();
    if (mode == DeleteMode.REFUSE && !children.isEmpty()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "snapshot '"
              + tag
              + "' has "
              + (children.size() == 1 ? "1 dependent (" : children.size() + " dependents (")
              + Chains.shown(children)
              + "); delete those first, delete them too with ?cascade=true, or leave them without"
              + " it with ?force=true");
    }
    Map<String, Entry> doomed = new LinkedHashMap<>();
    for (String one : mode == DeleteMode.CASCADE ? chains.leavesFirst(tag) : List.of(tag)) {
      if (all.get(one) instanceof Entry.Writing) {
        throw beingWritten(one, "it stands on '" + tag + "'; delete both when it is ready");
      }
      if (!(all.get(one) instanceof Entry.Deleting)) {
        doomed.put(one, all.get(one));
      }
    }
    doomed.forEach((one, was) -> all.put(one, new Entry.Deleting(was.parentTag())));
    return doomed;
  }

  private static ForkdException beingWritten(String tag, String advice) {
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION, "snapshot '" + tag + "' is still being written; " + advice);
  }

  private void setState(Set<String> tags, SnapshotState state) {
    store.inTransaction(tx -> {
      for (String tag : tags) {
        tx.findSnapshot(tag).ifPresent(row -> tx.updateSnapshot(row.withState(state)));
      }
      return tags.size();
    });
  }

  private void remove(String tag, Map<String, Entry> doomed) {
    try {
      SnapshotFiles.delete(dir.snapshot(tag));
      letGo.accept(tag);
      store.deleteSnapshot(tag);
      entries.remove(tag);
    } catch (ForkdException e) {
      // Its manifest may be gone: it can only be deleted again, now or by the next daemon.
      Entry was = doomed.remove(tag);
      entries.put(
          tag,
          new Entry.Damaged(
              "it is half deleted: " + e.message() + ". Delete it again (forkd rmi)",
              store.findSnapshot(tag).map(SnapshotRow::createdUnixMillis).orElse(0L) / 1000,
              false,
              was == null ? java.util.Optional.empty() : was.parentTag()));
      throw e;
    }
  }
}
