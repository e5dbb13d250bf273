package dev.forkd.pool;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.OptionalDouble;
import org.junit.jupiter.api.Test;

class MemoryPressureTest {
  private static final long PLENTY = 8L << 30;

  /** The kernel's lines are read; what is not theirs is no pressure. */
  @Test
  void readsWhatTheKernelWrites() {
    assertThat(
            MemoryPressure.parse(
                """
                some avg10=12.50 avg60=1.00 avg300=0.20 total=7
                full avg10=3.00 avg60=0.00 avg300=0.00 total=1
                """))
        .hasValue(12.5);
    assertThat(MemoryPressure.parse("")).isEmpty();
  }

  /** Either sign is enough, and the stronger one counts. */
  @Test
  void stallsAndScarcityAreSigns() {
    assertThat(MemoryPressure.of(OptionalDouble.empty(), PLENTY)).isEqualTo(MemoryPressure.NONE);
    assertThat(MemoryPressure.of(OptionalDouble.of(0.3), PLENTY)).isEqualTo(MemoryPressure.NONE);
    assertThat(MemoryPressure.of(OptionalDouble.of(6), PLENTY)).isEqualTo(MemoryPressure.SOME);
    assertThat(MemoryPressure.of(OptionalDouble.of(40), PLENTY)).isEqualTo(MemoryPressure.HIGH);
    assertThat(MemoryPressure.of(OptionalDouble.empty(), 500L << 20))
        .isEqualTo(MemoryPressure.SOME);
    assertThat(MemoryPressure.of(OptionalDouble.of(0), 100L << 20)).isEqualTo(MemoryPressure.HIGH);
    assertThat(MemoryPressure.now()).isNotNull();
  }
}
