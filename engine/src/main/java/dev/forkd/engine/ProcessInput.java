package dev.forkd.engine;

/** The way to a process's standard input or terminal. Closing it does not close that. */
public interface ProcessInput extends AutoCloseable {
  /**
   * Writes; returns when the guest has written all of it. Blocks while the process does not read;
   * one that does not for a minute is given up.
   *
   * @throws dev.forkd.api.ForkdException NOT_FOUND when there is no such process (any more),
   *     FAILED_PRECONDITION when it has no open input, DEADLINE_EXCEEDED when it does not read,
   *     CANCELLED after {@link #close}
   */
  void write(byte[] bytes);

  /** Gives up what was not taken yet, from any thread: who waits in {@link #write} hears of it. */
  @Override
  void close();
}
