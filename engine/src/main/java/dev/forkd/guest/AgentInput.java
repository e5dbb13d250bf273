package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.ProcessRef;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Writing to a kept process, which anybody may give up. Used by one writer; between two writes it
 * holds nothing.
 */
public final class AgentInput {
  static final String GIVEN_UP = "writing to the process was given up";

  private final ProcessRef process;
  private final ReentrantLock lock = new ReentrantLock();
  private Optional<Runnable> ending = Optional.empty();
  private boolean closed;

  public AgentInput(ProcessRef process) {
    this.process = process;
  }

  ProcessRef process() {
    return process;
  }

  /**
   * @throws ForkdException CANCELLED when it was given up before
   */
  void begin(GuestAgent agent, AgentStream stream) {
    lock.lock();
    try {
      if (closed) {
        throw new ForkdException(ErrorCode.CANCELLED, GIVEN_UP);
      }
      ending = Optional.of(() -> agent.cancel(stream, GIVEN_UP));
    } finally {
      lock.unlock();
    }
  }

  void end() {
    lock.lock();
    try {
      ending = Optional.empty();
    } finally {
      lock.unlock();
    }
  }

  /** Ends what is being written, and all that would be. */
  public void close() {
    Optional<Runnable> left;
    lock.lock();
    try {
      closed = true;
      left = ending;
    } finally {
      lock.unlock();
    }
    left.ifPresent(Runnable::run);
  }
}
