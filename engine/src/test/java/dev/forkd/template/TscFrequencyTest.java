package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.process.Programs;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** That the counter's frequency is measured right, and stays one value. */
class TscFrequencyTest {
  @TempDir Path folder;

  @Test
  void twoMeasurementsAgree() {
    Assumptions.assumeTrue(Programs.find("gcc").isPresent(), "no gcc on this host");
    Path home = Path.of("").toAbsolutePath().getParent();
    int first = new TscFrequency(home, folder.resolve("a")).khz();
    int second = new TscFrequency(home, folder.resolve("b")).khz();
    assertThat(TscFrequency.settle(first, second)).isEqualTo(first);
  }

  @Test
  void theKnownValueServesUntilTheHostReboots() throws Exception {
    String bootId = Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
    Files.writeString(folder.resolve("tsc.properties"), "boot_id=" + bootId + "\nkhz=1234567\n");
    assertThat(new TscFrequency(Path.of("/nowhere"), folder).khz()).isEqualTo(1234567);
  }

  @Test
  void anotherHostIsNoticedAndNoiseIsNot() {
    assertThat(TscFrequency.settle(2_596_122, 2_596_130)).isEqualTo(2_596_122);
    assertThat(TscFrequency.settle(2_596_122, 2_596_000)).isEqualTo(2_596_122);
    assertThat(TscFrequency.settle(2_596_122, 2_597_122)).isEqualTo(2_597_122);
    assertThat(TscFrequency.settle(2_596_122, 3_000_000)).isEqualTo(3_000_000);
  }
}
