package dev.forkd.api.rest;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.rest.MalformedJsonException.Fault;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The codec keeps the names and the nulls that published clients rely on, and refuses the rest. */
class JsonTest {
  private static final SandboxInfo BARE =
      new SandboxInfo(
          "sb1",
          "python",
          Optional.empty(),
          "10.42.0.2:8888",
          7,
          OptionalInt.empty(),
          OptionalLong.empty(),
          false,
          Optional.empty(),
          0,
          "emulation",
          "created",
          Optional.empty(),
          512,
          OptionalLong.empty(),
          Optional.empty());

  @Test
  void aSandboxKeepsTheFourNullsAndLeavesTheOthersOut() {
    assertThat(Json.text(BARE))
        .isEqualTo(
            "{\"id\":\"sb1\",\"snapshot_tag\":\"python\",\"netns\":null,"
                + "\"guest_addr\":\"10.42.0.2:8888\",\"created_at_unix\":7,\"pid\":null,"
                + "\"memory_limit_mib\":null,\"has_branched\":false,"
                + "\"last_branch_memory_path\":null,\"branch_count\":0,"
                + "\"isolation\":\"emulation\",\"state\":\"created\",\"memory_mib\":512}");
    assertThat(Json.read(Json.write(BARE), SandboxInfo.class)).isEqualTo(BARE);
  }

  @Test
  void absentFieldsAreEmptyAndUnknownOnesIgnored() {
    assertThat(Json.read("{\"args\":[\"true\"],\"future\":{\"a\":[1]}}", ExecRequest.class))
        .isEqualTo(
            new ExecRequest(
                List.of("true"),
                OptionalLong.empty(),
                Map.of(),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                false,
                false));
    assertThat(Json.read("{}", BranchRequest.class).tag()).isEmpty();
    assertThat(Json.read("{\"tag\":null,\"diff\":null}", BranchRequest.class).diff()).isFalse();
    assertThat(Json.read("{\"tag\":\"t\"}", CreateTemplate.class).packages()).isEmpty();
  }

  @Test
  void linesOfAStreamCarryOnlyWhatTheySay() {
    assertThat(Json.text(ExecLine.stdout("aGk="))).isEqualTo("{\"stdout\":\"aGk=\"}");
    assertThat(Json.text(ExecLine.ended(3, OptionalInt.empty(), false, OptionalInt.empty())))
        .isEqualTo("{\"exit_code\":3}");
    assertThat(Json.text(TemplateLine.progress("boot"))).isEqualTo("{\"progress\":\"boot\"}");
  }

  @Test
  void evalAnswersKeepTheirNulls() {
    String text =
        Json.text(
            new EvalResponse(Optional.empty(), Optional.of("E: x"), 1, Optional.empty(), "", 1.5));
    assertThat(text).contains("\"result\":null", "\"error\":\"E: x\"", "\"exit_code\":1");
    assertThat(text).doesNotContain("traceback");
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "   ", "{", "nope", "{} {}", "{\"args\":[1,}", "\"a", "{'a':1}"})
  void brokenSyntaxIsToldApart(String text) {
    assertThatThrownBy(() -> Json.read(text, ExecRequest.class))
        .isInstanceOfSatisfying(
            MalformedJsonException.class, e -> assertThat(e.fault()).isEqualTo(Fault.SYNTAX));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{}",
        "null",
        "[]",
        "3",
        "\"text\"",
        "{\"args\":\"true\"}",
        "{\"args\":[1]}",
        "{\"args\":[null]}",
        "{\"args\":[true]}",
        "{\"args\":{}}",
        "{\"args\":[\"a\"],\"timeout_secs\":\"5\"}",
        "{\"args\":[\"a\"],\"timeout_secs\":1.5}",
        "{\"args\":[\"a\"],\"timeout_secs\":99999999999999999999}",
        "{\"args\":[\"a\"],\"env\":{\"A\":null}}",
        "{\"args\":[\"a\"],\"env\":{\"A\":1}}",
        "{\"args\":[\"a\"],\"background\":\"yes\"}",
        "{\"args\":[\"a\"],\"background\":1}",
        "{\"args\":[\"a\"],\"cwd\":5}"
      })
  void aWrongShapeIsToldApart(String text) {
    assertThatThrownBy(() -> Json.read(text, ExecRequest.class))
        .isInstanceOfSatisfying(
            MalformedJsonException.class, e -> assertThat(e.fault()).isEqualTo(Fault.SHAPE));
  }

  @Test
  void theReasonNamesTheFieldAndHasNoInnards() {
    assertThatThrownBy(
            () -> Json.read("{\"args\":[\"a\"],\"timeout_secs\":\"5\"}", ExecRequest.class))
        .hasMessageContaining("timeout_secs")
        .satisfies(e -> assertThat(e.getMessage()).doesNotContain("\n", "REDACTED"));
  }

  @Test
  void listsOfMessagesAreRead() {
    byte[] bytes = Json.write(List.of(BARE, BARE));
    assertThat(Json.readList(bytes, SandboxInfo.class)).containsExactly(BARE, BARE);
    assertThat(new String(bytes, StandardCharsets.UTF_8)).startsWith("[{");
  }
}
