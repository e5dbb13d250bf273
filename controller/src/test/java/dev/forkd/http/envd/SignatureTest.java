package dev.forkd.http.envd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Instant;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class SignatureTest {
  private static final String TOKEN = "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0";

  /** As E2B's own clients make it: the vector of their tests. */
  @Test
  void knownVector() {
    assertThat(new Signature("hello.txt", "read", "user", Optional.empty()).of(TOKEN))
        .isEqualTo("v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E");
  }

  /** It is for its path, operation, user and time alone, and only until then. */
  @Test
  void checks() {
    Instant now = Instant.ofEpochSecond(1000);
    Signature signature = new Signature("a", "read", "", Optional.of(1000L));
    Optional<String> given = Optional.of(signature.of(TOKEN));
    signature.check(given, TOKEN, now);
    assertThatThrownBy(() -> signature.check(given, TOKEN, now.plusSeconds(1)))
        .hasMessage("signature is already expired");
    assertThatThrownBy(() -> signature.check(Optional.empty(), TOKEN, now))
        .hasMessage("missing signature query parameter");
    assertThatThrownBy(
            () -> new Signature("a", "write", "", Optional.of(1000L)).check(given, TOKEN, now))
        .hasMessage("invalid signature");
    assertThatThrownBy(() -> signature.check(given, "other", now)).hasMessage("invalid signature");
  }
}
