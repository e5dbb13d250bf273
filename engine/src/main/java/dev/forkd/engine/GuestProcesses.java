package dev.forkd.engine;

import java.util.List;

/**
 * Processes that belong to the guest, not to a connection: they are found again by id or label, by
 * any number of listeners, also after the sandbox was saved and in the children of a branch.
 * Methods about one that does not exist (any more) are NOT_FOUND.
 */
public interface GuestProcesses {
  /**
   * Starts a process; returns at once. That it runs, or could not be started, the listener and
   * {@link ProcessStream#await} hear.
   *
   * @throws dev.forkd.api.ForkdException (from await) NOT_FOUND for an unknown user,
   *     INVALID_ARGUMENT for a folder that does not exist or a program that cannot be run
   */
  ProcessStream start(ProcessSpec spec, ProcessListener listener);

  /**
   * Listens to what a process writes from now on. One that ended less than a minute ago still tells
   * its start and end.
   */
  ProcessStream attach(ProcessRef process, ProcessListener listener);

  /** Those that live, sorted by process id. */
  List<ProcessView> list();

  /** The way to its standard input or terminal; nothing is asked of the guest yet. */
  ProcessInput input(ProcessRef process);

  /** Writes to its standard input or terminal; see {@link ProcessInput#write}. */
  default void write(ProcessRef process, byte[] bytes) {
    try (ProcessInput input = input(process)) {
      input.write(bytes);
    }
  }

  /**
   * Closes its standard input.
   *
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION for a terminal, which has no such end
   */
  void closeInput(ProcessRef process);

  /** Sends a signal, 1 to 64, to its process group. */
  void signal(ProcessRef process, int number);

  /**
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when it has no terminal
   */
  void resize(ProcessRef process, TerminalSize size);
}
