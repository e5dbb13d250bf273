package dev.forkd.snapshot;

import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Who uses which memory image and disk layer. Images belong to no one: snapshots and sandboxes hold
 * on to all they need, and an image goes when the last holder does. Never stored: at start it is
 * built again from the holders.
 *
 * <p>Thread-safe.
 */
public final class ImageLedger {
  private final Map<String, Set<String>> holders = new HashMap<>();
  private final Map<String, Set<String>> held = new HashMap<>();
  private final ReentrantLock lock = new ReentrantLock();

  /** {@code holder} needs {@code images} from now on, besides what it needed before. */
  public void hold(String holder, Collection<String> images) {
    lock.lock();
    try {
      for (String image : images) {
        holders.computeIfAbsent(image, _ -> new HashSet<>()).add(holder);
        held.computeIfAbsent(holder, _ -> new HashSet<>()).add(image);
      }
    } finally {
      lock.unlock();
    }
  }

  /** {@code holder} needs nothing any more. Returns the images nobody needs now. */
  public List<String> release(String holder) {
    lock.lock();
    try {
      Set<String> images = held.remove(holder);
      return images == null ? List.of() : withoutHolder(holder, images);
    } finally {
      lock.unlock();
    }
  }

  /** {@code holder} needs only {@code images}. Returns the images nobody needs now. */
  public List<String> retain(String holder, Collection<String> images) {
    lock.lock();
    try {
      Set<String> dropped = new HashSet<>(held.getOrDefault(holder, Set.of()));
      dropped.removeAll(images);
      held.computeIfAbsent(holder, _ -> new HashSet<>()).removeAll(dropped);
      return withoutHolder(holder, dropped);
    } finally {
      lock.unlock();
    }
  }

  private List<String> withoutHolder(String holder, Set<String> images) {
    return images.stream()
        .filter(image -> {
          Set<String> remaining = holders.get(image);
          if (remaining == null) {
            return false;
          }
          remaining.remove(holder);
          if (remaining.isEmpty()) {
            holders.remove(image);
            return true;
          }
          return false;
        })
        .sorted()
        .toList();
  }

  /** Whether anybody needs the image. */
  public boolean isHeld(String image) {
    lock.lock();
    try {
      return holders.containsKey(image);
    } finally {
      lock.unlock();
    }
  }
}
