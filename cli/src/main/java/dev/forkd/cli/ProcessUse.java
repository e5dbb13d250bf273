package dev.forkd.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;

/** What a process takes of this host: memory, shared pages counted in parts, and CPU. */
final class ProcessUse {
  /** Linux reports CPU time in hundredths of a second on every machine we run on. */
  private static final long MILLIS_PER_TICK = 10;

  /** Fields of {@code /proc/PID/stat} after the name: utime and stime. */
  private static final int USER_TICKS = 11;

  private static final int SYSTEM_TICKS = 12;

  private ProcessUse() {}

  /** CPU time since its start in milliseconds; empty when the process is gone. */
  static OptionalLong cpuMillis(int pid) {
    try {
      String stat = Files.readString(Path.of("/proc", Integer.toString(pid), "stat"));
      String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
      long ticks = Long.parseLong(fields[USER_TICKS]) + Long.parseLong(fields[SYSTEM_TICKS]);
      return OptionalLong.of(ticks * MILLIS_PER_TICK);
    } catch (IOException e) {
      return OptionalLong.empty();
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
