package dev.forkd.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;

/** What a process takes of this host's memory, shared pages counted in parts. */
final class ProcessMemory {
  private ProcessMemory() {}

  /** Proportional set size in bytes; empty when the process is gone or belongs to another user. */
  static OptionalLong pssBytes(int pid) {
    try {
      return parse(Files.readString(Path.of("/proc", Integer.toString(pid), "smaps_rollup")));
    } catch (IOException e) {
      return OptionalLong.empty();
    }
  }

  static OptionalLong parse(String rollup) {
    return rollup
        .lines()
        .filter(line -> line.startsWith("Pss:"))
        .map(line -> line.replaceAll("[^0-9]", ""))
        .mapToLong(kib -> Long.parseLong(kib) << 10)
        .findFirst();
  }
}
