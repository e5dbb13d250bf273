package dev.forkd.sdk.hosted;

/**
 * How a command ended.
 *
 * @param exitCode -1 when a signal ended it
 * @param error why it is not 0; empty when it is
 */
public record CommandResult(int exitCode, String stdout, String stderr, String error) {
  public boolean succeeded() {
    return exitCode == 0;
  }
}
