package dev.forkd.memory;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Memory of this host, and the refusal to promise more of it than there is. */
public final class HostMemory {
  /** Left for the host itself whatever is asked. */
  private static final long RESERVE_BYTES = 256L << 20;

  private HostMemory() {}

  /** What the kernel says could be had without swapping. */
  public static long availableBytes() {
    try {
      for (String line : Files.readAllLines(Path.of("/proc/meminfo"))) {
        if (line.startsWith("MemAvailable:")) {
          return Long.parseLong(line.replaceAll("\\D", "")) << 10;
        }
      }
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "read /proc/meminfo: " + e.getMessage(), e);
    }
    throw new ForkdException(ErrorCode.INTERNAL, "/proc/meminfo has no MemAvailable line");
  }

  /**
   * Refuses what cannot fit.
   *
   * @param what for the message, such as {@code memory image of 'python'}
   * @throws ForkdException RESOURCE_EXHAUSTED with the arithmetic
   */
  public static void require(String what, long bytes) {
    long available = availableBytes();
    if (bytes > available - RESERVE_BYTES) {
      throw new ForkdException(
          ErrorCode.RESOURCE_EXHAUSTED,
          what
              + " needs "
              + (bytes >> 20)
              + " MiB; the host has "
              + (available >> 20)
              + " MiB available, of which "
              + (RESERVE_BYTES >> 20)
              + " MiB are kept free. Kill sandboxes or use a smaller template");
    }
  }
}
