package dev.forkd.sdk.hosted;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;

/** Terminals in a sandbox: login shells that people, and programs made for people, can use. */
public final class HostedPty {
  private final HostedCommands commands;

  HostedPty(HostedCommands commands) {
    this.commands = commands;
  }

  /** Opens a terminal of this size. */
  public HostedProcess open(int columns, int rows, Consumer<Output> listener) {
    return open(columns, rows, HostedCommands.Options.DEFAULT, listener);
  }

  /**
   * Opens a terminal of this size.
   *
   * @param options the shell's user, folder, environment and time
   * @param listener hears what it shows, on one thread
   * @throws dev.forkd.sdk.ForkdApiException INVALID_ARGUMENT when the folder or user does not exist
   */
  public HostedProcess open(
      int columns, int rows, HostedCommands.Options options, Consumer<Output> listener) {
    HostedCommands.Options more =
        options
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .env("LC_ALL", "C.UTF-8")
            .withInput();
    return commands.start(
        List.of("/bin/bash", "-i", "-l"),
        more,
        Optional.of(Map.of("size", Map.of("cols", columns, "rows", rows))),
        listener);
  }

  /** Looks on at a terminal that was opened before, by the number of its shell. */
  public HostedProcess connect(int pid, Consumer<Output> listener) {
    return commands.connect(pid, listener);
  }

  /** Ends a terminal's shell; false when there is none of this number. */
  public boolean kill(int pid) {
    return commands.kill(pid);
  }
}
