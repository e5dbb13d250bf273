package dev.forkd.engine;

/** How a guest process ended. */
public sealed interface ExecExit {
  record Exited(int status) implements ExecExit {}

  record Signalled(int signal) implements ExecExit {}

  /** Its time was up; it was killed. */
  record TimedOut() implements ExecExit {}

  /** Left running in the background. */
  record Background(int guestPid) implements ExecExit {}

  /** As a shell tells it: the status, or 128 plus the signal; 124 for a timeout. */
  default int shellStatus() {
    return switch (this) {
      case Exited exited -> exited.status();
      case Signalled signalled -> 128 + signalled.signal();
      case TimedOut _ -> 124;
      case Background _ -> 0;
    };
  }
}
