package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

/** Shows that tables line up and that a guest's words cannot break them. */
class TableTest {
  @Test
  void columnsAreAsWideAsTheirWidestCell() {
    assertThat(
            new Table("ID", ">MEMORY", "STATE")
                .row("sb1", "1 MiB", "idle")
                .row("sb22", 7, "")
                .render())
        .isEqualTo(
            """
            ID    MEMORY  STATE
            sb1    1 MiB  idle
            sb22       7
            """);
  }

  @Test
  void controlCharactersBecomeBlanks() {
    assertThat(new Table("TEXT").row("a\nb\u001b[31mc\u009bd").render())
        .isEqualTo("TEXT\na b [31mc d\n");
  }

  @Test
  void charactersBeyondSixteenBitsCountOnce() {
    assertThat(new Table("A", "B").row("\uD83D\uDE00", "x").render())
        .isEqualTo("A  B\n\uD83D\uDE00  x\n");
  }

  @Test
  void aRowMustFit() {
    assertThatThrownBy(() -> new Table("A", "B").row("only one"))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
