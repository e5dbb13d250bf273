package dev.forkd.vmm;

import java.nio.file.Path;

/**
 * Who a VM is on this host. Every socket and log of it derives from this, so that a sweep finds
 * what was left behind without asking anyone.
 *
 * @param id unique in the data directory
 * @param runtimeDir short folder for sockets and the monitor's own messages: a Unix socket path
 *     must stay under 108 bytes
 */
public record VmName(String id, Path runtimeDir) {
  /** The monitor's QMP (control) socket. */
  public Path controlSocket() {
    return runtimeDir.resolve(id + ".q");
  }

  /** The guest agent's socket. */
  public Path agentSocket() {
    return runtimeDir.resolve(id + ".a");
  }

  /** Where device state is fed in on restore; exists for milliseconds. */
  public Path incomingSocket() {
    return runtimeDir.resolve(id + ".m");
  }

  /** What the monitor prints about itself. */
  public Path log() {
    return runtimeDir.resolve(id + ".log");
  }

  /** The name the process shows. */
  public String processName() {
    return "forkd-" + id;
  }
}
