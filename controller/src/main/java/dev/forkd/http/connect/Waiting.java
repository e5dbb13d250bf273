package dev.forkd.http.connect;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Cut;
import dev.forkd.http.CutOffException;
import dev.forkd.http.Exchange;
import java.io.EOFException;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.LongSupplier;

/** Waits on the request's thread for something that may never come. */
final class Waiting {
  private static final long FOREVER_NANOS = TimeUnit.HOURS.toNanos(1);

  private Waiting() {}

  /** Something to do when nothing happens for long. */
  interface Pulse {
    /** Does what is due, and tells in how many nanoseconds it is to be asked again. */
    long beat();
  }

  /** Nothing to do. */
  static final Pulse NONE = () -> FOREVER_NANOS;

  /**
   * Waits for {@code end}, which is completed from here when the client goes away or the exchange
   * is cut.
   *
   * @param deadlineNanos by {@link System#nanoTime}
   */
  static <T> T until(
      CompletableFuture<T> end, Exchange exchange, Optional<Long> deadlineNanos, Pulse pulse) {
    LongSupplier left = () -> deadlineNanos.map(at -> at - System.nanoTime()).orElse(FOREVER_NANOS);
    try (Cut.Standing _ =
            exchange.cut().on(() -> end.completeExceptionally(new CutOffException()));
        Cut.Standing _ =
            exchange.onGone(() ->
                end.completeExceptionally(
                    new ClientGoneException(new EOFException("it closed its side"))))) {
      while (true) {
        long next = pulse.beat();
        try {
          return end.get(Math.min(next, Math.max(0, left.getAsLong())), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
          if (left.getAsLong() <= 0) {
            throw new ConnectException(
                ConnectCode.DEADLINE_EXCEEDED, "the time the client gave is over", e);
          }
        }
      }
    } catch (ExecutionException e) {
      switch (e.getCause()) {
        case RuntimeException cause -> throw cause;
        case Error cause -> throw cause;
        case null, default -> throw new IllegalStateException(e);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "the daemon is stopping", e);
    }
  }
}
