package dev.forkd.engine;

/** Listening to a process. Closing it ends the listening, not the process. */
public interface ProcessStream extends AutoCloseable {
  /**
   * Waits for the end of the process, all output delivered.
   *
   * @throws dev.forkd.api.ForkdException as the start did, when that failed; CANCELLED after {@link
   *     #close}; UNAVAILABLE when the sandbox has ended
   */
  ExecExit await();

  @Override
  void close();
}
