package dev.forkd.linux;

import java.io.IOException;
import java.util.OptionalInt;

/** Processes that became children of this one without having been started by it. */
public final class Children {
  private static final int WNOHANG = 1;

  private Children() {}

  /**
   * Takes the exit status of a child that has ended, which lets the kernel forget it.
   *
   * @return as {@code $?} shows it: 0 to 255, or 128 and the signal; empty for one that lives or is
   *     no child of ours
   * @see <a href="https://man7.org/linux/man-pages/man2/waitpid.2.html">waitpid(2)</a>
   */
  public static OptionalInt reap(int pid) {
    try {
      int[] status = new int[1];
      if (Libc.waitpid(pid, status, WNOHANG) != pid) {
        return OptionalInt.empty();
      }
      int signal = status[0] & 0x7f;
      return OptionalInt.of(signal == 0 ? (status[0] >> 8) & 0xff : 128 + signal);
    } catch (IOException e) {
      return OptionalInt.empty();
    }
  }
}
