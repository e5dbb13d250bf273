package dev.forkd.cli;

/** What is done when the user ends the program, unless it was closed before. */
final class AtExit implements AutoCloseable {
  private final Thread hook;

  AtExit(Runnable work) {
    this.hook = Thread.ofPlatform().name("at-exit").unstarted(work);
    Runtime.getRuntime().addShutdownHook(hook);
  }

  /** Harmless when the program is ending already. */
  @Override
  public void close() {
    try {
      Runtime.getRuntime().removeShutdownHook(hook);
    } catch (IllegalStateException e) {
      // It runs: whoever closes us does the same work, and doing it twice is fine.
      return;
    }
  }
}
