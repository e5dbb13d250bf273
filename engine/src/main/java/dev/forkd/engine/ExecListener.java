package dev.forkd.engine;

/** Hears the output of a running command. Arrays are the listener's to keep. */
public interface ExecListener {
  void stdout(byte[] chunk);

  void stderr(byte[] chunk);
}
