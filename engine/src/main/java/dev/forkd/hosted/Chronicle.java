package dev.forkd.hosted;

import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.engine.LogEntry;
import dev.forkd.engine.UsageSample;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * What happened to hosted sandboxes and in them, and what they used: the newest of it, in memory.
 * It stays a while after their end, and is lost with the process.
 *
 * <p>Thread-safe.
 */
final class Chronicle {
  /** Between samples of a sandbox that is at work; E2B's are as far apart. */
  static final Duration SAMPLE_INTERVAL = Duration.ofSeconds(5);

  private static final int ENTRIES_MAX = 500;
  private static final int SAMPLES_MAX = 720;
  private static final int TEXT_CHARS_MAX = 500;
  private static final int ENDED_MAX = 200;

  /** Of those that are read in quick succession, one is enough. */
  private static final Duration FRESH = Duration.ofMillis(300);

  private static final class Diary {
    final Deque<LogEntry> entries = new ArrayDeque<>();
    final Deque<UsageSample> samples = new ArrayDeque<>();
    boolean ended;
  }

  private final HostedHost host;
  private final InstantSource clock;
  private final Map<String, Diary> diaries = new LinkedHashMap<>();
  private final AtomicBoolean sampling = new AtomicBoolean();

  Chronicle(HostedHost host, InstantSource clock) {
    this.host = host;
    this.clock = clock;
  }

  synchronized void begin(String id) {
    diaries.putIfAbsent(id, new Diary());
  }

  synchronized void end(String id) {
    Diary diary = diaries.remove(id);
    if (diary == null) {
      return;
    }
    diary.ended = true;
    // Behind all others: those that ended first are first to go.
    diaries.put(id, diary);
    List<String> ended =
        diaries.entrySet().stream()
            .filter(entry -> entry.getValue().ended)
            .map(Map.Entry::getKey)
            .toList();
    ended.stream().limit(Math.max(0, ended.size() - ENDED_MAX)).forEach(diaries::remove);
  }

  synchronized void note(
      String id, LogEntry.Level level, String logger, String message, Map<String, String> fields) {
    Diary diary = diaries.get(id);
    if (diary == null) {
      return;
    }
    Map<String, String> bounded = new LinkedHashMap<>();
    fields.forEach((key, value) -> bounded.put(key, shortened(value)));
    add(
        diary.entries,
        new LogEntry(clock.instant(), level, logger, shortened(message), bounded),
        ENTRIES_MAX);
  }

  private static String shortened(String text) {
    return text.length() <= TEXT_CHARS_MAX ? text : text.substring(0, TEXT_CHARS_MAX) + "…";
  }

  private static <T> void add(Deque<T> to, T one, int max) {
    if (to.size() == max) {
      to.removeFirst();
    }
    to.addLast(one);
  }

  /** The entries, the oldest first; empty when nothing is known of the sandbox. */
  synchronized Optional<List<LogEntry>> entries(String id) {
    return Optional.ofNullable(diaries.get(id)).map(diary -> List.copyOf(diary.entries));
  }

  /** The samples, the oldest first, and one of now while it runs. */
  List<UsageSample> samples(String id, Optional<SandboxId> sandbox) {
    Instant newest = newest(id);
    if (newest.isBefore(clock.instant().minus(FRESH))) {
      sandbox.ifPresent(running -> sample(id, running));
    }
    synchronized (this) {
      Diary diary = diaries.get(id);
      return diary == null ? List.of() : List.copyOf(diary.samples);
    }
  }

  private synchronized Instant newest(String id) {
    Diary diary = diaries.get(id);
    return diary == null || diary.samples.isEmpty()
        ? Instant.EPOCH
        : diary.samples.getLast().time();
  }

  private void sample(String id, SandboxId sandbox) {
    UsageSample sample = new UsageSample(clock.instant(), host.usage(sandbox));
    synchronized (this) {
      Diary diary = diaries.get(id);
      if (diary != null) {
        add(diary.samples, sample, SAMPLES_MAX);
      }
    }
  }

  /** Samples those that are at work; one that rests uses nothing and is not woken for it. */
  void sampleAll(Collection<Hosted> all) {
    if (!sampling.compareAndSet(false, true)) {
      return;
    }
    try {
      for (Hosted hosted : all) {
        try {
          hosted.sandbox().filter(host::working).ifPresent(in -> sample(hosted.id(), in));
        } catch (ForkdException e) {
          // It ends, or pauses; or has too much to do to answer.
          note(hosted.id(), LogEntry.Level.DEBUG, "sandbox", "no sample: " + e.message(), Map.of());
        }
      }
    } finally {
      sampling.set(false);
    }
  }
}
