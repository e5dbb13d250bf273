package dev.forkd.cli;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalDouble;
import java.util.OptionalLong;

/** What a process takes of this host: memory, shared pages counted in parts, and CPU. */
final class ProcessUse {
  private ProcessUse() {}

  /**
   * CPU time of its living threads in milliseconds; empty when the process is gone. Not from {@code
   * stat}, which counts in steps of 10 ms: more than a forked child may ever use.
   */
  static OptionalDouble cpuMillis(int pid) {
    try (DirectoryStream<Path> threads =
        Files.newDirectoryStream(Path.of("/proc", Integer.toString(pid), "task"))) {
      long nanos = 0;
      for (Path thread : threads) {
        nanos += Long.parseLong(Files.readString(thread.resolve("schedstat")).split(" ")[0]);
      }
      return OptionalDouble.of(nanos / 1e6);
    } catch (IOException e) {
      return OptionalDouble.empty();
    }
  }

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
