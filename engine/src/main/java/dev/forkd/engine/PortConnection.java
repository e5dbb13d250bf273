package dev.forkd.engine;

import java.io.InputStream;
import java.io.OutputStream;

/** A TCP connection to a port of a guest. Closing it closes both directions. */
public interface PortConnection extends AutoCloseable {
  /** What the guest sends; ends when it closes its side. */
  InputStream input();

  /** To the guest; blocks while it does not read. Closing it tells the guest that no more comes. */
  OutputStream output();

  @Override
  void close();
}
