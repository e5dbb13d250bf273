package dev.forkd.http.envd;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.GuestWatch;
import dev.forkd.http.Cut;
import dev.forkd.http.connect.ConnectCode;
import dev.forkd.http.connect.ConnectException;
import dev.forkd.http.envd.FilesystemMessages.ChangeEvent;
import java.util.ArrayDeque;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;

/**
 * Watchers that clients ask for their events from time to time. Each keeps a bounded number; one
 * whose client does not come is told to have lost some, and is over. All end with their sandbox.
 */
final class Watchers {
  /** Of one sandbox. */
  static final int WATCHERS_MAX = 64;

  /** Of one watcher, between two visits of its client. */
  static final int EVENTS_MAX = 4096;

  private final Map<String, Watcher> watchers = new ConcurrentHashMap<>();
  private final ReentrantLock making = new ReentrantLock();

  private final class Watcher implements GuestWatch {
    private final String guest;
    private final ReentrantLock lock = new ReentrantLock();
    private final Queue<ChangeEvent> events = new ArrayDeque<>();
    private boolean lost;
    private boolean over;
    private Optional<GuestWatch.Handle> handle = Optional.empty();
    private Optional<Cut.Standing> stop = Optional.empty();

    Watcher(String guest) {
      this.guest = guest;
    }

    @Override
    public void changed(GuestWatch.Change change) {
      lock.lock();
      try {
        if (events.size() < EVENTS_MAX) {
          events.add(ChangeEvent.of(change));
        } else {
          lost = true;
        }
      } finally {
        lock.unlock();
      }
    }

    @Override
    public void ended(ForkdException why) {
      watchers.values().remove(this);
      close();
    }

    /** What was opened for it; closed at once when it is over already. */
    void opened(GuestWatch.Handle made, Cut.Standing standing) {
      lock.lock();
      try {
        if (!over) {
          handle = Optional.of(made);
          stop = Optional.of(standing);
          return;
        }
      } finally {
        lock.unlock();
      }
      made.close();
      standing.close();
    }

    void close() {
      Optional<GuestWatch.Handle> open;
      Optional<Cut.Standing> standing;
      lock.lock();
      try {
        over = true;
        open = handle;
        standing = stop;
        handle = Optional.empty();
        stop = Optional.empty();
        events.clear();
      } finally {
        lock.unlock();
      }
      open.ifPresent(GuestWatch.Handle::close);
      standing.ifPresent(Cut.Standing::close);
    }

    List<ChangeEvent> drain(String id) {
      lock.lock();
      try {
        if (!lost) {
          List<ChangeEvent> all = List.copyOf(events);
          events.clear();
          return all;
        }
      } finally {
        lock.unlock();
      }
      watchers.remove(id);
      close();
      throw new ConnectException(
          ConnectCode.RESOURCE_EXHAUSTED,
          "watcher "
              + id
              + " lost events: more than "
              + EVENTS_MAX
              + " were not asked for in time; make another");
    }
  }

  /**
   * Makes a watcher.
   *
   * @param opener begins to watch
   * @return its id
   */
  String make(Guest guest, Function<GuestWatch, GuestWatch.Handle> opener) {
    String id = "w" + HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong());
    Watcher watcher = new Watcher(guest.id());
    making.lock();
    try {
      long have = watchers.values().stream().filter(w -> w.guest.equals(guest.id())).count();
      if (have >= WATCHERS_MAX) {
        throw new ConnectException(
            ConnectCode.RESOURCE_EXHAUSTED,
            "the sandbox has " + WATCHERS_MAX + " watchers; remove one first");
      }
      watchers.put(id, watcher);
    } finally {
      making.unlock();
    }
    try {
      GuestWatch.Handle handle = opener.apply(watcher);
      watcher.opened(
          handle,
          guest
              .stops()
              .on(() -> {
                watchers.remove(id);
                Threads.virtual("watcher-close", watcher::close);
              }));
    } catch (RuntimeException e) {
      watchers.remove(id);
      throw e;
    }
    return id;
  }

  /** What happened since the last time. */
  List<ChangeEvent> drain(Guest guest, String id) {
    return mine(guest, id).drain(id);
  }

  void remove(Guest guest, String id) {
    Watcher watcher = mine(guest, id);
    watchers.remove(id);
    watcher.close();
  }

  /** Another sandbox's watcher is as unknown as any other. */
  private Watcher mine(Guest guest, String id) {
    Watcher watcher = watchers.get(id);
    if (watcher == null || !watcher.guest.equals(guest.id())) {
      throw new ConnectException(ConnectCode.NOT_FOUND, "watcher with id " + id + " not found");
    }
    return watcher;
  }

  int count() {
    return watchers.size();
  }
}
