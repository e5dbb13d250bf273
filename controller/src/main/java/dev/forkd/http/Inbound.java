package dev.forkd.http;

import io.helidon.common.buffers.DataReader;
import io.helidon.webserver.CloseConnectionException;
import java.util.Optional;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * What a connection receives, with an ear on it: while a request is answered, somebody may wait for
 * the client's next bytes, to learn at once that it went away instead. What is read meanwhile is
 * kept for the next request; it is never more than one piece.
 */
final class Inbound {
  private final DataReader socket;
  private final DataReader reader = DataReader.create(this::next);
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition settled = lock.newCondition();
  private boolean listening;
  private boolean broken;
  private byte @Nullable [] kept;
  private @Nullable RuntimeException end;
  private Optional<Runnable> gone = Optional.empty();

  Inbound(DataReader socket) {
    this.socket = socket;
  }

  DataReader reader() {
    return reader;
  }

  /** The next piece, for the connection's own thread. */
  private byte[] next() {
    lock.lock();
    try {
      while (listening) {
        settled.await();
      }
      if (kept != null) {
        byte[] piece = kept;
        kept = null;
        return piece;
      }
      if (end != null) {
        throw end;
      }
    } catch (InterruptedException e) {
      // Like a socket: who is interrupted in a read loses the connection.
      broken = true;
      Thread.currentThread().interrupt();
      throw new CloseConnectionException("interrupted", e);
    } finally {
      lock.unlock();
    }
    return pull();
  }

  private byte[] pull() {
    socket.ensureAvailable();
    return socket.readBytes(socket.available());
  }

  /**
   * Runs {@code action} once when the client has gone away or will send no more; at once if it has.
   *
   * @return ends the interest
   */
  Cut.Standing onGone(Runnable action) {
    lock.lock();
    try {
      if (end == null && !broken) {
        gone = Optional.of(action);
        if (!listening && kept == null) {
          listening = true;
          dev.forkd.api.Threads.virtual("inbound", this::listen);
        }
        return this::nobodyListens;
      }
    } finally {
      lock.unlock();
    }
    action.run();
    return () -> {};
  }

  private void nobodyListens() {
    lock.lock();
    try {
      gone = Optional.empty();
    } finally {
      lock.unlock();
    }
  }

  private void listen() {
    byte @Nullable [] piece = null;
    @Nullable RuntimeException failure = null;
    try {
      piece = pull();
    } catch (RuntimeException e) {
      failure = e;
    }
    Optional<Runnable> told = Optional.empty();
    lock.lock();
    try {
      listening = false;
      kept = piece;
      end = failure;
      if (failure != null) {
        told = gone;
        gone = Optional.empty();
      }
      settled.signalAll();
    } finally {
      lock.unlock();
    }
    told.ifPresent(Runnable::run);
  }
}
