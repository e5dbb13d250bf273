package dev.forkd.fork;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.ForkSpec;
import dev.forkd.linux.CgroupSupport;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.nio.file.Path;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A memory limit that cannot be kept is refused, not forgotten. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class LimitTest {
  @TempDir Path root;

  private static ForkSpec limited(OptionalLong limit) {
    return new ForkSpec(Workbench.BASE, 1, limit, false, false, false, "emulation");
  }

  /** Where no cgroup can be made a limit is refused with the reason; without one, all goes well. */
  @Test
  void noCgroupNoLimit() throws IOException {
    CgroupSupport none = new CgroupSupport.None("/sys/fs/cgroup is read-only");
    try (Workbench bench = new Workbench(root, none).withBase()) {
      Set<String> before = bench.files();
      assertThatThrownBy(() -> bench.forker().fork(limited(OptionalLong.of(256))))
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION);
                assertThat(e.message()).contains("memory_limit_mib", "/sys/fs/cgroup is read-only");
              });
      assertThat(bench.sandboxes.all()).isEmpty();
      assertThat(bench.store.listSandboxes()).isEmpty();
      assertThat(bench.files()).isEqualTo(before);
      assertThat(bench.forker().fork(limited(OptionalLong.empty()))).hasSize(1);
      assertThat(bench.sandboxes.all()).hasSize(1);
    }
  }
}
