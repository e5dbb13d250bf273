package dev.forkd.http;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Says to a request under way that what it stands on is gone: its sandbox stopped, say. From then
 * on nothing of its answer goes out any more. Any thread may cut; the first time counts.
 */
public final class Cut {
  private final AtomicBoolean done = new AtomicBoolean();
  private final Map<Object, Runnable> actions = new ConcurrentHashMap<>();

  /** A standing wish to hear. */
  public interface Standing extends AutoCloseable {
    @Override
    void close();
  }

  /** Cuts, and runs what waits for that on the calling thread. */
  public void cut() {
    if (done.compareAndSet(false, true)) {
      actions.keySet().forEach(this::once);
    }
  }

  public boolean isCut() {
    return done.get();
  }

  /** Runs {@code action}, which must not block, once it is cut; at once if it is. */
  public Standing on(Runnable action) {
    Object key = new Object();
    actions.put(key, action);
    if (isCut()) {
      once(key);
    }
    return () -> actions.remove(key);
  }

  private void once(Object key) {
    Runnable action = actions.remove(key);
    if (action != null) {
      action.run();
    }
  }

  /**
   * @throws CutOffException when it is cut
   */
  public void check() {
    if (isCut()) {
      throw new CutOffException();
    }
  }
}
