package dev.forkd.api;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** Shows that the version the programs print is the one that was built. */
class ForkdVersionTest {
  @Test
  void isTheOneInThePom() throws Exception {
    assertThat(Files.readString(Path.of("pom.xml")))
        .contains("<version>" + ForkdVersion.CURRENT + "</version>");
  }
}
