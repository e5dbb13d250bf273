package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;

/** All tags of a data directory and what is known about each. Thread-safe. */
final class Entries {
  private final Map<String, Entry> byTag = new TreeMap<>();
  private final ReentrantLock lock = new ReentrantLock();

  /** Looks and changes as one step; {@code work} must be short and wait for nothing. */
  <T> T locked(Function<Map<String, Entry>, T> work) {
    lock.lock();
    try {
      return work.apply(byTag);
    } finally {
      lock.unlock();
    }
  }

  void put(String tag, Entry entry) {
    locked(all -> Optional.ofNullable(all.put(tag, entry)));
  }

  void remove(String tag) {
    locked(all -> Optional.ofNullable(all.remove(tag)));
  }

  /** What can be seen at this moment: a snapshot that is being deleted is gone. */
  Map<String, Entry> seen() {
    return locked(all -> {
      Map<String, Entry> seen = new TreeMap<>(all);
      seen.values().removeIf(Entry.Deleting.class::isInstance);
      return seen;
    });
  }

  Optional<Entry> find(Tag tag) {
    return locked(all -> Optional.ofNullable(all.get(tag.value())))
        .filter(entry -> !(entry instanceof Entry.Deleting));
  }

  /**
   * @throws ForkdException NOT_FOUND
   */
  Entry get(Tag tag) {
    return find(tag).orElseThrow(() -> unknown(tag));
  }

  static ForkdException unknown(Tag tag) {
    return new ForkdException(
        ErrorCode.NOT_FOUND,
        "snapshot '" + tag + "' not found; forkd images lists those there are");
  }
}
