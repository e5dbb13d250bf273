package dev.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.testkit.FakeEngine;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;

/** What is kept of a command's output. */
class CollectedExecTest {
  private final FakeEngine engine = new FakeEngine().withTemplate("base");

  private SandboxId sandbox() {
    ForkSpec one =
        new ForkSpec(new Tag("base"), 1, OptionalLong.empty(), false, false, false, "emulation");
    return ((ChildOutcome.Started) engine.fork(one).getFirst()).sandbox().id();
  }

  private static ExecSpec limited(List<String> args, long outputLimitBytes) {
    return new ExecSpec(
        args,
        Map.of(),
        Optional.empty(),
        Optional.empty(),
        new byte[0],
        false,
        Duration.ofSeconds(10),
        false,
        outputLimitBytes);
  }

  /** A command that says much and then why it failed: the reason is kept. */
  @Test
  void eachStreamHasALimitOfItsOwn() {
    ExecResult result = engine.exec(sandbox(), limited(List.of("flood", "no", "room"), 100));
    assertThat(result.truncated()).isTrue();
    assertThat(result.stdout()).hasSize(100);
    assertThat(new String(result.stderr(), StandardCharsets.UTF_8)).isEqualTo("no room\n");
  }
}
