package dev.forkd.pool;

import dev.forkd.memory.HostMemory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalDouble;

/**
 * How short of memory the host is: by the time that its processes stand still for memory, where the
 * kernel tells ({@code /proc/pressure/memory}), and always by what is available.
 *
 * @see <a href="https://docs.kernel.org/accounting/psi.html">Pressure stall information</a>
 */
enum MemoryPressure {
  /** Children may be forked ahead. */
  NONE,
  /** No more are forked ahead. */
  SOME,
  /** Those that are ready are given back. */
  HIGH;

  private static final Path PRESSURE = Path.of("/proc/pressure/memory");

  /** Percent of the last ten seconds in which some process waited for memory. */
  private static final double SOME_PERCENT = 5;

  private static final double HIGH_PERCENT = 20;
  private static final long SOME_BYTES = 768L << 20;
  private static final long HIGH_BYTES = 384L << 20;

  /** At this moment. */
  static MemoryPressure now() {
    return of(stalledPercent(), HostMemory.availableBytes());
  }

  static MemoryPressure of(OptionalDouble stalledPercent, long availableBytes) {
    double stalled = stalledPercent.orElse(0);
    if (stalled >= HIGH_PERCENT || availableBytes < HIGH_BYTES) {
      return HIGH;
    }
    return stalled >= SOME_PERCENT || availableBytes < SOME_BYTES ? SOME : NONE;
  }

  private static OptionalDouble stalledPercent() {
    try {
      return parse(Files.readString(PRESSURE));
    } catch (IOException e) {
      // A kernel without it, or with it switched off: what is available has to do.
      return OptionalDouble.empty();
    }
  }

  /** Reads {@code some avg10=1.23 avg60=…}. */
  static OptionalDouble parse(String text) {
    return text.lines()
        .filter(line -> line.startsWith("some "))
        .flatMap(line -> java.util.Arrays.stream(line.split(" ")))
        .filter(word -> word.startsWith("avg10="))
        .mapToDouble(word -> Double.parseDouble(word.substring("avg10=".length())))
        .findFirst();
  }
}
