package dev.forkd.pool;

import dev.forkd.api.Tag;
import dev.forkd.engine.PoolView;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.snapshot.SnapshotManifest;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;

/** The children that are ready for one snapshot. Guarded by the lock of its {@link PoolKeeper}. */
final class Pool {
  /** A child that waits, and what it is a child of: a tag may be made again. */
  record Child(Sandbox sandbox, SnapshotManifest manifest, boolean prewarmed) {
    boolean usable() {
      return sandbox.record().failure().isEmpty() && !sandbox.vm().exit().isDone();
    }
  }

  final Tag tag;
  final int size;
  final boolean prewarm;

  /** The oldest first. */
  final ArrayDeque<Child> ready = new ArrayDeque<>();

  int starting;

  Pool(Tag tag, int size, boolean prewarm) {
    this.tag = tag;
    this.size = size;
    this.prewarm = prewarm;
  }

  int missing() {
    return Math.max(0, size - ready.size() - starting);
  }

  PoolView view() {
    return new PoolView(tag, size, prewarm, ready.size(), starting);
  }

  /** Takes out what cannot be handed out any more, and what is too much. */
  List<Child> surplus(Predicate<Child> wanted) {
    List<Child> ending = new ArrayList<>();
    ready.removeIf(child -> {
      boolean goes = !wanted.test(child) || !child.usable();
      if (goes) {
        ending.add(child);
      }
      return goes;
    });
    while (ready.size() > size) {
      ending.add(ready.removeLast());
    }
    return ending;
  }
}
