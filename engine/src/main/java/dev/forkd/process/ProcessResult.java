package dev.forkd.process;

import java.time.Duration;

/**
 * What a program left behind.
 *
 * @param exitStatus 0 to 255; 128 + n if signal n ended it
 * @param stdout the end of its standard output, as far as the limit allows
 * @param stderr the end of its standard error, as far as the limit allows
 * @param truncated whether the limit cut either of them
 * @param duration from its start to its end
 */
public record ProcessResult(
    int exitStatus, String stdout, String stderr, boolean truncated, Duration duration) {
  public boolean succeeded() {
    return exitStatus == 0;
  }
}
