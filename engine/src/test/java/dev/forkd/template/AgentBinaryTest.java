package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ForkdException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** That the agent is compiled when its sources change and only then, and whole or not at all. */
class AgentBinaryTest {
  @TempDir Path home;
  private final List<String> progress = new ArrayList<>();
  private AgentBinary agent;

  @BeforeEach
  void sources() throws IOException {
    Files.createDirectories(home.resolve("guest/agent"));
    Files.writeString(home.resolve("guest/agent/evaluator.py"), "print(1)");
    script("cp \"$0\" \"$1/forkd-agent\"");
    agent = new AgentBinary(home, home.resolve("data"));
  }

  @Test
  void unchangedSourcesAreCompiledOnce() throws Exception {
    AgentBinary.Built first = agent.build(progress::add);
    assertThat(agent.build(progress::add)).isEqualTo(first);
    assertThat(progress).hasSize(1);
    assertThat(Files.isExecutable(first.binary())).isTrue();
    assertThat(Files.readString(first.evaluator())).isEqualTo("print(1)");
  }

  @Test
  void aChangeOrARenameCompilesAgainAndNamesAnotherAgent() throws Exception {
    String first = agent.build(progress::add).sourceHash();
    Path header = Files.writeString(home.resolve("guest/agent/a.h"), "x");
    String second = agent.build(progress::add).sourceHash();
    Files.move(header, header.resolveSibling("b.h"));
    String third = agent.build(progress::add).sourceHash();
    assertThat(List.of(first, second, third)).doesNotHaveDuplicates();
    assertThat(progress).hasSize(3);
  }

  @Test
  void aFailedBuildQuotesTheCompilerAndLeavesNothing() throws Exception {
    script("touch \"$1/forkd-agent\"; echo 'agent.c:1: error: no jansson.h' >&2; exit 1");
    assertThatThrownBy(() -> agent.build(progress::add))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("no jansson.h")
        .hasMessageContaining("libjansson-dev");
    assertThat(home.resolve("data").toFile().list()).isEmpty();
  }

  @Test
  void aBuildThatLeavesNoProgramIsAFailure() throws Exception {
    script("exit 0");
    assertThatThrownBy(() -> agent.build(progress::add)).hasMessageContaining("no forkd-agent");
    assertThat(home.resolve("data").toFile().list()).isEmpty();
  }

  @Test
  void aHalfDeletedAgentIsMadeAgain() throws Exception {
    AgentBinary.Built first = agent.build(progress::add);
    Files.delete(first.binary());
    assertThat(agent.build(progress::add)).isEqualTo(first);
    assertThat(first.binary()).exists();
  }

  @Test
  void withoutSourcesItSaysHowToNameThem() {
    assertThatThrownBy(
            () -> new AgentBinary(home.resolve("x"), home.resolve("data")).build(progress::add))
        .hasMessageContaining("FORKD_HOME");
  }

  private void script(String body) throws IOException {
    Path script = home.resolve("guest/agent/build");
    Files.writeString(script, "#!/bin/sh\nset -e\n" + body + "\n");
    Files.setPosixFilePermissions(script, PosixFilePermissions.fromString("rwxr-xr-x"));
  }
}
