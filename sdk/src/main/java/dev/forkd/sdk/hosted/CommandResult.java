package dev.forkd.sdk.hosted;

/**
 * How a command ended, and what it wrote.
 *
 * @param exitCode -1 when a signal ended it
 * @param truncated it wrote more than {@link HostedCommands#OUTPUT_BYTES_MAX} to one of the two, of
 *     which only the beginning is here
 * @param error why the exit code is not 0; empty when it is
 */
public record CommandResult(
    int exitCode, String stdout, String stderr, boolean truncated, String error) {
  public boolean succeeded() {
    return exitCode == 0;
  }
}
