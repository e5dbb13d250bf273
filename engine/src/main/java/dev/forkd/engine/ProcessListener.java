package dev.forkd.engine;

/**
 * Hears one process. Called on one thread, in order, {@link #started} first; it may block:
 * back-pressure reaches the guest's process. Arrays are the listener's to keep.
 */
public interface ProcessListener {
  /** It runs, under this process id of the guest. */
  void started(int pid);

  void stdout(byte[] chunk);

  void stderr(byte[] chunk);

  /** What it wrote to its terminal. */
  void terminal(byte[] chunk);
}
