package dev.forkd.http;

import java.time.Duration;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongSupplier;

/** Counts the requests under way, so that the daemon can drain, and can tell that it is idle. */
public final class Activity {
  private final LongSupplier nanoClock;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition quiet = lock.newCondition();
  private int running;
  private boolean draining;
  private long lastEndNanos;

  public Activity(LongSupplier nanoClock) {
    this.nanoClock = nanoClock;
    this.lastEndNanos = nanoClock.getAsLong();
  }

  /** Whether a request may start. */
  public enum Entry {
    ADMITTED,
    FULL,
    DRAINING
  }

  /** Counts a request in; {@link #leave} must follow only if it was admitted. */
  Entry enter() {
    lock.lock();
    try {
      if (draining) {
        return Entry.DRAINING;
      }
      if (running >= Limits.REQUESTS_MAX) {
        return Entry.FULL;
      }
      running++;
      return Entry.ADMITTED;
    } finally {
      lock.unlock();
    }
  }

  void leave() {
    lock.lock();
    try {
      running--;
      lastEndNanos = nanoClock.getAsLong();
      if (running == 0) {
        quiet.signalAll();
      }
    } finally {
      lock.unlock();
    }
  }

  /** Admits nobody any more and waits for those inside; false if some were left at the end. */
  boolean drain(Duration timeout) throws InterruptedException {
    lock.lock();
    try {
      draining = true;
      long left = timeout.toNanos();
      while (running > 0 && left > 0) {
        left = quiet.awaitNanos(left);
      }
      return running == 0;
    } finally {
      lock.unlock();
    }
  }

  /** Admits nobody any more if nothing has been asked for so long; tells whether it was so. */
  public boolean closeIfIdle(Duration limit) {
    lock.lock();
    try {
      if (running > 0 || nanoClock.getAsLong() - lastEndNanos < limit.toNanos()) {
        return false;
      }
      draining = true;
      return true;
    } finally {
      lock.unlock();
    }
  }
}
