package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** How the checkout is found, and what is said when it is not. */
class ForkdHomeTest {
  @TempDir Path folder;

  @Test
  void theNamedOneWinsAndMustBeOne() throws Exception {
    Path home = checkout("a");
    assertThat(ForkdHome.find(Optional.of(home.toString()), checkout("b"))).isEqualTo(home);
    assertThatThrownBy(() -> ForkdHome.find(Optional.of("/nowhere"), home))
        .hasMessageContaining("/nowhere")
        .hasMessageContaining("FORKD_HOME");
  }

  @Test
  void otherwiseTheNearestFolderAboveIsTaken() throws Exception {
    Path home = checkout("a");
    Path below = Files.createDirectories(home.resolve("engine/target"));
    assertThat(ForkdHome.find(Optional.empty(), below)).isEqualTo(home);
    assertThatThrownBy(() -> ForkdHome.find(Optional.empty(), folder))
        .hasMessageContaining("run ./forkd");
  }

  private Path checkout(String name) throws Exception {
    Path home = folder.resolve(name);
    Files.createDirectories(home.resolve("guest/agent"));
    Files.writeString(home.resolve("guest/agent/build"), "#!/bin/sh\n");
    return home;
  }
}
