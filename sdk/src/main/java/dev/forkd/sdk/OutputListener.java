package dev.forkd.sdk;

/**
 * Hears the output of a running command, on one thread. It may block: that slows the command down,
 * nothing piles up. Arrays are the listener's to keep.
 */
public interface OutputListener {
  void stdout(byte[] chunk);

  void stderr(byte[] chunk);
}
