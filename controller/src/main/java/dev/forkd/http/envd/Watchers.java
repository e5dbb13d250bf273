package dev.forkd.http.envd;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.GuestWatch;
import dev.forkd.http.Cut;
import dev.forkd.http.HeapBudget;
import dev.forkd.http.connect.ConnectCode;
import dev.forkd.http.connect.ConnectException;
import dev.forkd.http.envd.FilesystemMessages.ChangeEvent;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import java.util.function.LongSupplier;

/**
 * Watchers that clients ask for their events from time to time. Each keeps what fits into its
 * bounds; one whose client does not come in time has lost some, is told so, and is over. One whose
 * client does not come at all is forgotten, as it would keep its guest awake. All end with their
 * sandbox.
 */
final class Watchers implements AutoCloseable {
  /** Of one sandbox. */
  static final int WATCHERS_MAX = 64;

  /** Of one watcher, between two visits of its client. */
  static final int EVENTS_MAX = 4096;

  /** Of one watcher's events, about, in memory. */
  static final int EVENT_BYTES_MAX = 1 << 20;

  /** Of the events of all watchers of a sandbox. */
  static final long GUEST_BYTES_MAX = 4L << 20;

  /**
   * Of all watchers' events: far more than a sandbox's, or one would make all others lose theirs.
   */
  static final long ALL_BYTES_MAX = 64L << 20;

  /** For a client to ask. */
  static final Duration REST_MAX = Duration.ofMinutes(10);

  private static final Duration SWEEP_INTERVAL = Duration.ofMinutes(1);

  /** An object with its few texts. */
  private static final int EVENT_BYTES = 120;

  private static final int ENTRY_BYTES = 600;

  private final LongSupplier nanoClock;
  private final ScheduledExecutorService sweeper = Threads.clock("watchers");
  private final HeapBudget budget = new HeapBudget(ALL_BYTES_MAX, GUEST_BYTES_MAX);
  private final Map<String, Watcher> watchers = new ConcurrentHashMap<>();
  private final ReentrantLock making = new ReentrantLock();

  Watchers(LongSupplier nanoClock) {
    this.nanoClock = nanoClock;
    var _ =
        sweeper.scheduleWithFixedDelay(
            this::sweep,
            SWEEP_INTERVAL.toMillis(),
            SWEEP_INTERVAL.toMillis(),
            TimeUnit.MILLISECONDS);
  }

  /** Forgets those whose clients have not come for long. */
  void sweep() {
    watchers.forEach((id, watcher) -> {
      if (nanoClock.getAsLong() - watcher.askedNanos > REST_MAX.toNanos()
          && watchers.remove(id, watcher)) {
        // A guest may be slow to hear.
        Threads.virtual("watcher-close", watcher::close);
      }
    });
  }

  @Override
  public void close() {
    sweeper.shutdownNow();
  }

  private static int bytes(ChangeEvent event) {
    int bytes = EVENT_BYTES + 2 * event.name().length();
    if (event.entry().isPresent()) {
      FilesystemMessages.EntryInfo entry = event.entry().get();
      bytes +=
          ENTRY_BYTES + 2 * (entry.path().length() + entry.symlinkTarget().orElse("").length());
      for (Map.Entry<String, String> word : entry.metadata().orElse(Map.of()).entrySet()) {
        bytes += EVENT_BYTES + 2 * (word.getKey().length() + word.getValue().length());
      }
    }
    return bytes;
  }

  private final class Watcher implements GuestWatch {
    private final String guest;
    private final ReentrantLock lock = new ReentrantLock();
    private final Queue<ChangeEvent> events = new ArrayDeque<>();
    private volatile long askedNanos = nanoClock.getAsLong();
    private HeapBudget.Share held;
    private long eventBytes;
    private boolean lost;
    private boolean over;
    private Optional<GuestWatch.Handle> handle = Optional.empty();
    private Optional<Cut.Standing> stop = Optional.empty();

    Watcher(String guest) {
      this.guest = guest;
      this.held = budget.share(guest);
    }

    @Override
    public void changed(GuestWatch.Change change) {
      ChangeEvent event = ChangeEvent.of(change);
      int size = bytes(event);
      lock.lock();
      try {
        if (over || lost) {
          return;
        }
        if (events.size() >= EVENTS_MAX
            || eventBytes + size > EVENT_BYTES_MAX
            || !held.mayHold(size)) {
          lost = true;
          forget();
          return;
        }
        events.add(event);
        eventBytes += size;
      } finally {
        lock.unlock();
      }
    }

    private void forget() {
      events.clear();
      held.close();
      held = budget.share(guest);
      eventBytes = 0;
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
        forget();
      } finally {
        lock.unlock();
      }
      open.ifPresent(GuestWatch.Handle::close);
      standing.ifPresent(Cut.Standing::close);
    }

    List<ChangeEvent> drain(String id) {
      askedNanos = nanoClock.getAsLong();
      lock.lock();
      try {
        if (!lost) {
          List<ChangeEvent> all = List.copyOf(events);
          forget();
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
              + ", or a MiB of them, or "
              + (GUEST_BYTES_MAX >> 20)
              + " MiB with those of the sandbox's other watchers, were not asked for in time; make"
              + " another");
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
