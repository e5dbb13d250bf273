package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** That packages come from where the host's administrator has them come from. */
class AptSourcesTest {
  private static final String TARGETS =
      """
      http://mirror.example/debian/ bookworm main $(SIGNED_BY)
      http://mirror.example/debian/ bookworm main $(SIGNED_BY)
      http://mirror.example/debian/ bookworm-updates main /usr/share/keyrings/a.gpg
      http://mirror.example/security/ bookworm-security main -----BEGIN PGP
      http://mirror.example/debian/ trixie main $(SIGNED_BY)
      http://vendor.example/apt/ stable main /etc/apt/vendor.gpg
      """;

  @TempDir Path folder;

  @Test
  void onlyTheSuiteAndItsUpdatesAreTakenEachOnce() {
    assertThat(AptSources.entries(TARGETS, "bookworm"))
        .containsExactly(
            "deb http://mirror.example/debian/ bookworm main",
            "deb [signed-by=/usr/share/keyrings/a.gpg] http://mirror.example/debian/"
                + " bookworm-updates main",
            "deb http://mirror.example/security/ bookworm-security main");
  }

  @Test
  void aHostOfAnotherReleaseHasNoneSoThatTheToolsDefaultIsUsed() {
    assertThat(AptSources.entries(TARGETS, "bullseye")).isEmpty();
    assertThat(AptSources.entries("http://m.example/ bookworm-security main x", "bookworm"))
        .isEmpty();
  }

  @Test
  void theHostsOwnListsAreUsedUntilOthersAreFetched() {
    assertThat(new AptSources(folder, List.of()).command("apt-cache", "depends", "x"))
        .containsExactly("apt-cache", "depends", "x");
  }
}
