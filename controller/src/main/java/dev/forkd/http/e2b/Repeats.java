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
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * What was made under a key is not made again under it: a client that did not hear an answer asks
 * once more and gets the same. What failed is forgotten at once. Kept is the id of what was made,
 * and what tells the wish from another, for an hour: at most 10,000 of them, a few megabytes.
 */
final class Repeats {
  private static final Pattern KEY = Pattern.compile("[a-z0-9-]{1,255}");
  private static final Duration KEPT = Duration.ofHours(1);
  private static final int KEYS_MAX = 10_000;

  /**
   * @param made its id
   * @param wish what was asked for, as a fingerprint
   */
  private record Deed(CompletableFuture<String> made, String wish, Instant begun) {}

  /** With the first request, for those that repeat it. */
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  private final InstantSource clock;
  private final Duration patience;
  private final ReentrantLock lock = new ReentrantLock();
  private final Map<String, Deed> deeds = new LinkedHashMap<>();

  Repeats(InstantSource clock) {
    this(clock, PATIENCE);
  }

  Repeats(InstantSource clock, Duration patience) {
    this.clock = clock;
    this.patience = patience;
  }

  /**
   * Makes something, or gives the id of what was made under this key before.
   *
   * @param wish tells what is asked for from all else
   * @throws ForkdException INVALID_ARGUMENT for what is no key, FAILED_PRECONDITION when something
   *     else was made under it, UNAVAILABLE when the first to ask is not served within a minute
   */
  String once(Optional<String> key, String wish, Supplier<String> work) {
    if (key.isEmpty()) {
      return work.get();
    }
    if (!KEY.matcher(key.get()).matches()) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "Idempotency-Key must be 1 to 255 lowercase letters, digits or dashes");
    }
    CompletableFuture<String> mine = new CompletableFuture<>();
    Optional<Deed> before = before(key.get(), new Deed(mine, wish, clock.instant()));
    if (before.isPresent()) {
      if (!before.get().wish().equals(wish)) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION,
            "another sandbox was asked for under this Idempotency-Key; take a key for each",
            Map.of(E2bApi.REASON, "idempotency_request_mismatch"),
            null);
      }
      return joined(before.get().made());
    }
    try {
      String done = work.get();
      mine.complete(done);
      return done;
    } catch (Throwable e) {
      // Errors too: who asks again would wait for this one for ever.
      forget(key.get());
      mine.completeExceptionally(e);
      throw e;
    }
  }

  /** What was begun under the key; if nothing was, {@code mine} is from now on. */
  private Optional<Deed> before(String key, Deed mine) {
    lock.lock();
    try {
      Instant old = clock.instant().minus(KEPT);
      // The oldest stand first.
      deeds
          .values()
          .removeIf(deed ->
              deed.made().isDone() && (deed.begun().isBefore(old) || deeds.size() >= KEYS_MAX));
      return Optional.ofNullable(deeds.putIfAbsent(key, mine));
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

  private String joined(CompletableFuture<String> first) {
    try {
      return first.get(patience.toNanos(), TimeUnit.NANOSECONDS);
    } catch (ExecutionException e) {
      throw e.getCause() instanceof ForkdException known
          ? known
          : new ForkdException(ErrorCode.INTERNAL, "the first of these requests failed", e);
    } catch (TimeoutException e) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE,
          "the first request with this Idempotency-Key is still being served after "
              + patience.toSeconds()
              + " s; ask again",
          e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "the daemon is stopping", e);
    }
  }
}
