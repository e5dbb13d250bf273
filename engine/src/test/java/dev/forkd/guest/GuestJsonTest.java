package dev.forkd.guest;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What guests say is read within a bound on its parts, whatever its bytes. */
class GuestJsonTest {
  private static byte[] bytes(String json) {
    return json.getBytes(StandardCharsets.UTF_8);
  }

  /** One text may be as long as its bytes; many parts are refused. */
  @Test
  void partsAreBounded() {
    String text = "x".repeat(4 << 20);
    assertThat(GuestJson.read(bytes("{\"result\":\"" + text + "\"}"), "an outcome").path("result"))
        .hasToString("\"" + text + "\"");
    int many = GuestJson.TOKENS_MAX / 2 - 10;
    assertThat(GuestJson.read(bytes("[" + "{},".repeat(many) + "1]"), "a result"))
        .hasSize(many + 1);
    refused(
        "[" + "{},".repeat(2 * many) + "1]",
        ErrorCode.RESOURCE_EXHAUSTED,
        "a result of more parts than are read: 200000");
  }

  /** What is no JSON is told as such. */
  @ParameterizedTest
  @ValueSource(strings = {"{", "[1,]", "{\"a\":}", "nothing", "\u0000"})
  void noJson(String said) {
    refused(said, ErrorCode.DATA_LOSS, "a result that is not JSON");
  }

  private static void refused(String said, ErrorCode code, String told) {
    assertThatThrownBy(() -> GuestJson.read(bytes(said), "a result"))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(code);
              assertThat(e.message()).contains(told);
            });
  }
}
