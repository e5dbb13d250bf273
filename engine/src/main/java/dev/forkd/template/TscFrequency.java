package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import java.io.IOException;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Properties;

/**
 * How fast this host's time stamp counter runs. A guest is told ({@code tsc_early_khz=}) because
 * measuring it itself hangs its boot on a busy host. The value is part of a template's identity, so
 * it must not wander: one measurement serves until the host reboots, and a later one that agrees
 * with it to within the accuracy of any measurement changes nothing.
 */
public final class TscFrequency {
  private static final Path BOOT_ID = Path.of("/proc/sys/kernel/random/boot_id");

  /** A counter calibrated anew at each boot differs by less than this; another host, by more. */
  private static final double SAME_HOST_RATIO = 100e-6;

  private static final int MIN_KHZ = 100_000;
  private static final int MAX_KHZ = 20_000_000;

  private final Path source;
  private final Path record;

  /**
   * @param forkdHome the checkout, which holds {@code guest/tools/tsc.c}
   * @param folder where the measured value is kept
   */
  public TscFrequency(Path forkdHome, Path folder) {
    this.source = forkdHome.resolve("guest/tools/tsc.c");
    this.record = folder.resolve("tsc.properties");
  }

  /** In kHz; takes about 0.4 s the first time after a boot of the host. */
  public int khz() {
    return AssetFiles.orFail(
        "find out the frequency of the time stamp counter",
        () -> {
          String bootId = Files.readString(BOOT_ID).strip();
          Optional<Known> known = known();
          if (known.isPresent() && known.get().bootId().equals(bootId)) {
            return known.get().khz();
          }
          int measured = measure();
          int khz = known.isPresent() ? settle(known.get().khz(), measured) : measured;
          AssetFiles.replace(
              record,
              ("boot_id=" + bootId + "\nkhz=" + khz + "\n").getBytes(StandardCharsets.UTF_8));
          return khz;
        });
  }

  /** The known value if the measured one can be the same counter, else the measured one. */
  static int settle(int known, int measured) {
    return Math.abs(measured - known) <= known * SAME_HOST_RATIO ? known : measured;
  }

  private record Known(String bootId, int khz) {}

  private Optional<Known> known() throws IOException {
    if (!Files.exists(record)) {
      return Optional.empty();
    }
    Properties properties = new Properties();
    properties.load(new StringReader(Files.readString(record)));
    String bootId = properties.getProperty("boot_id", "");
    String khz = properties.getProperty("khz", "");
    // A damaged record is measured again: it is only a cache.
    return khz.matches("[0-9]{6,8}")
        ? Optional.of(new Known(bootId, Integer.parseInt(khz)))
        : Optional.empty();
  }

  private int measure() throws IOException {
    Path program = Files.createTempFile("forkd-tsc", "");
    try {
      ProcessRunner.check(
          Command.of("gcc", "-O2", "-o", program.toString(), source.toString())
              .advice("it needs the packages gcc and libc6-dev"));
      String text = ProcessRunner.check(Command.of(program.toString())).stdout().strip();
      int khz = text.matches("[0-9]{1,9}") ? Integer.parseInt(text) : 0;
      if (khz < MIN_KHZ || khz > MAX_KHZ) {
        throw new ForkdException(
            ErrorCode.INTERNAL,
            "measured a time stamp counter of '" + text + "' kHz, which no processor has");
      }
      return khz;
    } finally {
      Files.delete(program);
    }
  }
}
