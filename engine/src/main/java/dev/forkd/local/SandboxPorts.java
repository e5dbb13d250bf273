package dev.forkd.local;

import dev.forkd.engine.GuestPorts;
import dev.forkd.engine.PortConnection;
import dev.forkd.sandbox.Sandbox;

/** A sandbox's ports; it runs while a connection is open. */
record SandboxPorts(Sandbox sandbox) implements GuestPorts {
  @Override
  public PortConnection connect(int port) {
    Sandbox.Session session = sandbox.enter();
    try {
      return session.agent().connect(port, session::close);
    } catch (RuntimeException e) {
      session.close();
      throw e;
    }
  }
}
