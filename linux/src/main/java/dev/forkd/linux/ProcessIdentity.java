package dev.forkd.linux;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A process that cannot be mistaken for a later one with the same pid.
 *
 * @param startTicks start time in clock ticks since boot, field 22 of {@code /proc/PID/stat}; 0
 *     when the process was gone already
 * @see <a href="https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html">proc_pid_stat(5)</a>
 */
public record ProcessIdentity(long pid, long startTicks) {
  /** Fields after the command name, which is in parentheses and may contain anything. */
  private static final int START_FIELD_AFTER_NAME = 19;

  private static final int STATE_FIELD_AFTER_NAME = 0;

  /** The identity of the process that has this pid now. */
  public static ProcessIdentity of(long pid) {
    String[] fields = statFields(pid);
    return new ProcessIdentity(
        pid,
        fields.length > START_FIELD_AFTER_NAME
            ? Long.parseLong(fields[START_FIELD_AFTER_NAME])
            : 0);
  }

  /** This process. */
  public static ProcessIdentity self() {
    return of(ProcessHandle.current().pid());
  }

  /** Whether it still runs; a zombie does not. */
  public boolean isAlive() {
    String[] fields = statFields(pid);
    return fields.length > START_FIELD_AFTER_NAME
        && startTicks != 0
        && Long.parseLong(fields[START_FIELD_AFTER_NAME]) == startTicks
        && !fields[STATE_FIELD_AFTER_NAME].equals("Z");
  }

  private static String[] statFields(long pid) {
    try {
      String stat =
          Files.readString(Path.of("/proc/" + pid + "/stat"), StandardCharsets.ISO_8859_1);
      return stat.substring(stat.lastIndexOf(')') + 2).split(" ");
    } catch (IOException e) {
      return new String[0];
    }
  }
}
