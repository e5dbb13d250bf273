package dev.forkd.local;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSession;
import dev.forkd.engine.ExecSpec;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.testkit.FakeGuest;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Whoever waits for a command hears its end. */
@Timeout(value = 30, unit = TimeUnit.SECONDS, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class ExecutionTest {
  private static final ExecSpec COMMAND = ExecSpec.of(List.of("nonesuch"), Duration.ofMinutes(10));

  @TempDir Path root;
  private Workbench bench;

  @BeforeEach
  void open() throws IOException {
    bench = new Workbench(root).withBase();
  }

  @AfterEach
  void close() {
    bench.close();
  }

  /** As one whose client has gone. */
  private static final class Deaf implements ExecListener {
    @Override
    public void stdout(byte[] chunk) {
      throw new IllegalStateException("nobody listens");
    }

    @Override
    public void stderr(byte[] chunk) {
      throw new IllegalStateException("nobody listens");
    }
  }

  /** A listener that fails on hearing that there is no such program. */
  @Test
  void nobodyHearsThatThereIsNoSuchProgram() throws IOException {
    Sandbox sandbox = bench.sandbox();
    bench.guest(sandbox).on("exec", FakeGuest.failing("not_found", "no such program"));
    try (ExecSession session = Execution.start(sandbox, COMMAND, new Deaf())) {
      assertThatThrownBy(session::await).hasRootCauseMessage("nobody listens");
    }
  }
}
