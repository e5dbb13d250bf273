package dev.forkd.engine;

/** A running command. Closing it kills the process group if it still runs. */
public interface ExecSession extends AutoCloseable {
  /** Writes to its standard input; blocks while the guest does not read. */
  void writeStdin(byte[] bytes);

  void closeStdin();

  /** Sends a signal by number, 1 to 64, to the process group. */
  void signal(int number);

  /** Waits for the end, all output delivered. */
  ExecExit await();

  @Override
  void close();
}
