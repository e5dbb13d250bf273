package dev.forkd.engine;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;

/** The size of a terminal, in characters, each 1 to 65535; anything else is INVALID_ARGUMENT. */
public record TerminalSize(int columns, int rows) {
  private static final int MAX = 65535;

  public TerminalSize {
    if (columns < 1 || columns > MAX || rows < 1 || rows > MAX) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "a terminal of " + columns + " x " + rows + " characters: send 1 to " + MAX + " each");
    }
  }
}
