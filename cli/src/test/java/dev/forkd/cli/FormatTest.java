package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;

/** Shows sizes and times in the units people expect. */
class FormatTest {
  @Test
  void bytes() {
    assertThat(Format.bytes(0)).isEqualTo("0 B");
    assertThat(Format.bytes(1023)).isEqualTo("1023 B");
    assertThat(Format.bytes(1536)).isEqualTo("1.5 KiB");
    assertThat(Format.bytes(512L << 20)).isEqualTo("512 MiB");
    assertThat(Format.bytes(3L << 30)).isEqualTo("3 GiB");
  }

  @Test
  void durations() {
    assertThat(Format.duration(Duration.ofMillis(850))).isEqualTo("850 ms");
    assertThat(Format.duration(Duration.ofMillis(2345))).isEqualTo("2.35 s");
    assertThat(Format.duration(Duration.ofSeconds(185))).isEqualTo("3 min 5 s");
  }

  @Test
  void ages() {
    assertThat(Format.age(100, 90)).isEqualTo("0s");
    assertThat(Format.age(0, 119)).isEqualTo("119s");
    assertThat(Format.age(0, 3600)).isEqualTo("60m");
    assertThat(Format.age(0, 86_400)).isEqualTo("24h");
    assertThat(Format.age(0, 864_000)).isEqualTo("10d");
  }
}
