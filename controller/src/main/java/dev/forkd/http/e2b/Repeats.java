package dev.forkd.http.e2b;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * What was done under a key is not done again under it: a client that did not hear an answer asks
 * once more and gets the same. What failed is forgotten at once.
 */
final class Repeats<T> {
  private static final Pattern KEY = Pattern.compile("[a-z0-9-]{1,255}");
  private static final Duration KEPT = Duration.ofHours(1);
  private static final int KEYS_MAX = 10_000;

  private record Deed<T>(CompletableFuture<T> result, Instant begun) {}

  private final InstantSource clock;
  private final ReentrantLock lock = new ReentrantLock();
  private final Map<String, Deed<T>> deeds = new LinkedHashMap<>();

  Repeats(InstantSource clock) {
    this.clock = clock;
  }

  /** Does the work, or gives what it has given under this key before. */
  T once(Optional<String> key, Supplier<T> work) {
    if (key.isEmpty()) {
      return work.get();
    }
    if (!KEY.matcher(key.get()).matches()) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "Idempotency-Key must be 1 to 255 lowercase letters, digits or dashes");
    }
    CompletableFuture<T> mine = new CompletableFuture<>();
    Optional<CompletableFuture<T>> before = before(key.get(), mine);
    if (before.isPresent()) {
      return joined(before.get());
    }
    try {
      T done = work.get();
      mine.complete(done);
      return done;
    } catch (RuntimeException e) {
      forget(key.get());
      mine.completeExceptionally(e);
      throw e;
    }
  }

  /** What was begun under the key; if nothing was, {@code mine} is from now on. */
  private Optional<CompletableFuture<T>> before(String key, CompletableFuture<T> mine) {
    lock.lock();
    try {
      Instant old = clock.instant().minus(KEPT);
      // The oldest stand first.
      deeds
          .values()
          .removeIf(deed ->
              deed.result().isDone() && (deed.begun().isBefore(old) || deeds.size() >= KEYS_MAX));
      Deed<T> there = deeds.putIfAbsent(key, new Deed<>(mine, clock.instant()));
      return Optional.ofNullable(there).map(Deed::result);
    } finally {
      lock.unlock();
    }
  }

  private void forget(String key) {
    lock.lock();
    try {
      deeds.remove(key);
    } finally {
      lock.unlock();
    }
  }

  private static <T> T joined(CompletableFuture<T> first) {
    try {
      return first.join();
    } catch (CompletionException e) {
      throw e.getCause() instanceof ForkdException known
          ? known
          : new ForkdException(ErrorCode.INTERNAL, "the first of these requests failed", e);
    }
  }
}
