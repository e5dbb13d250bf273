package dev.forkd.sandbox;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import java.time.Duration;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Counts the requests inside a sandbox and can keep new ones out: whoever saves it to end it must
 * know that nobody is told of a change that the saved one lacks.
 */
public final class Door {
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition left = lock.newCondition();
  private int inside;
  private boolean shut;

  /** Closed, it lets requests in again. */
  public final class Shut implements AutoCloseable {
    private Shut() {}

    @Override
    public void close() {
      lock.lock();
      try {
        shut = false;
      } finally {
        lock.unlock();
      }
    }
  }

  /**
   * @throws ForkdException ABORTED while it is shut
   */
  void enter(SandboxId id) {
    lock.lock();
    try {
      if (shut) {
        throw refused(id);
      }
      inside++;
    } finally {
      lock.unlock();
    }
  }

  private static ForkdException refused(SandboxId id) {
    return new ForkdException(
        ErrorCode.ABORTED,
        "sandbox "
            + id
            + " is being suspended; resume its workspace and send this to the new sandbox");
  }

  /** Once for each {@link #enter} that did not throw. */
  void leave() {
    lock.lock();
    try {
      inside--;
      left.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /**
   * Keeps new requests out and waits for those inside.
   *
   * @throws ForkdException FAILED_PRECONDITION when they do not end within {@code patience},
   *     ABORTED when it is shut already
   */
  Shut shut(SandboxId id, Duration patience) {
    lock.lock();
    try {
      if (shut) {
        throw refused(id);
      }
      shut = true;
      if (!emptied(id, patience)) {
        shut = false;
        throw stillInside(id, patience);
      }
      return new Shut();
    } finally {
      lock.unlock();
    }
  }

  private boolean emptied(SandboxId id, Duration patience) {
    try {
      long nanos = patience.toNanos();
      while (inside > 0 && nanos > 0) {
        nanos = left.awaitNanos(nanos);
      }
      return inside == 0;
    } catch (InterruptedException e) {
      shut = false;
      Thread.currentThread().interrupt();
      throw new ForkdException(
          ErrorCode.CANCELLED, "interrupted while requests in sandbox " + id + " end", e);
    }
  }

  private ForkdException stillInside(SandboxId id, Duration patience) {
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION,
        inside
            + (inside == 1 ? " request is" : " requests are")
            + " still under way in sandbox "
            + id
            + " after "
            + patience.toSeconds()
            + " s; wait for them or end them, and try again (a command that is to go on across"
            + " suspend and resume is started with background:true)");
  }
}
