package dev.forkd.testkit;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/** Counts who is inside a pretended guest: as with the real one, none is saved with somebody in. */
final class FakeDoor {
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition left = lock.newCondition();
  private int inside;
  private boolean shut;

  /** Somebody inside; closed once or several times. */
  interface Pass extends AutoCloseable {
    @Override
    void close();
  }

  /** For a request. */
  Pass enter() {
    lock.lock();
    try {
      if (shut) {
        throw new ForkdException(ErrorCode.ABORTED, "the sandbox is being suspended");
      }
      return stay();
    } finally {
      lock.unlock();
    }
  }

  /** For what a request that is inside goes on with. */
  Pass stay() {
    lock.lock();
    try {
      inside++;
    } finally {
      lock.unlock();
    }
    AtomicBoolean gone = new AtomicBoolean();
    return () -> {
      if (gone.compareAndSet(false, true)) {
        leave();
      }
    };
  }

  private void leave() {
    lock.lock();
    try {
      inside--;
      left.signalAll();
    } finally {
      lock.unlock();
    }
  }

  int inside() {
    lock.lock();
    try {
      return inside;
    } finally {
      lock.unlock();
    }
  }

  void shut(Duration patience) {
    lock.lock();
    try {
      shut = true;
      long nanos = patience.toNanos();
      while (inside > 0 && nanos > 0) {
        nanos = left.awaitNanos(nanos);
      }
      if (inside > 0) {
        shut = false;
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION, inside + " requests are still under way");
      }
    } catch (InterruptedException e) {
      shut = false;
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted", e);
    } finally {
      lock.unlock();
    }
  }

  void open() {
    lock.lock();
    try {
      shut = false;
    } finally {
      lock.unlock();
    }
  }
}
