package dev.forkd.engine;

/** The guest's TCP ports on its own loopback interface; no network is needed for them. */
public interface GuestPorts {
  /**
   * Connects to a port.
   *
   * @param port 1 to 65535
   * @throws dev.forkd.api.ForkdException NOT_FOUND when nothing listens there
   */
  PortConnection connect(int port);
}
