package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.sdk.Forkd;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/**
 * Shows which template the quickstart asks for and which it takes instead. The tour itself is shown
 * with real VMs, by CliSystemTest.
 */
class QuickstartTest {
  private static final String TEMPLATE =
      """
      {"tag":"python","dir":"/d/python","created_at_unix":1,"status":"ready","bootable":%s,
       "template":%s,"memory_mib":512,"memory_bytes":104857600,"disk_bytes":209715200}\
      """;
  private static final String DIFFERENT =
      "{\"error\":\"was made differently\",\"code\":\"already_exists\"}";

  private final StringWriter told = new StringWriter();
  private FakeDaemon daemon;

  @BeforeEach
  void start() throws Exception {
    daemon = new FakeDaemon();
  }

  @AfterEach
  void stop() {
    daemon.close();
  }

  private void quickstart() {
    PrintWriter writer = new PrintWriter(told, true);
    try (Forkd forkd = Forkd.connect(daemon.url(), "secret")) {
      new Quickstart(2, writer, writer).run(forkd);
    }
  }

  /** Or whichever of the two comes second would be told that the first made it differently. */
  @Test
  void itAsksForTheSameTemplateAsTemplateBuildDoes() {
    assertThatThrownBy(this::quickstart).isInstanceOf(ForkdException.class);
    assertThat(daemon.run("template", "build", "python").status()).isEqualTo(1);
    List<String> asked =
        daemon.asked.stream().filter(request -> request.startsWith("POST /v1/templates")).toList();
    assertThat(asked).hasSize(2);
    assertThat(asked.getFirst()).isEqualTo(asked.getLast());
  }

  /** A refusal may come at once or after some progress; both mean the same. */
  @Test
  void aTemplateThatWasMadeDifferentlyIsTaken() {
    daemon.answers("GET /v1/snapshots/python", 200, TEMPLATE.formatted(true, true));
    for (int status : new int[] {409, 200}) {
      String body = status == 409 ? DIFFERENT : "{\"progress\":\"compiles\"}\n" + DIFFERENT + "\n";
      daemon.answers("POST /v1/templates", status, body);
      assertThatThrownBy(this::quickstart).hasMessageContaining("POST /v1/sandboxes");
      assertThat(told.toString()).contains("is there already, made differently");
      assertThat(daemon.asked.getLast()).contains("\"snapshot_tag\":\"python\"", "\"n\":2");
      assertThat(daemon.asked).noneMatch(request -> request.contains("\"replace\":true"));
    }
  }

  @Test
  void whatCannotBeForkedIsNotTaken() {
    daemon.answers("POST /v1/templates", 409, DIFFERENT);
    for (String snapshot :
        List.of(TEMPLATE.formatted(false, true), TEMPLATE.formatted(true, false))) {
      daemon.answers("GET /v1/snapshots/python", 200, snapshot);
      assertThatThrownBy(this::quickstart)
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION))
          .hasMessageContaining("forkd template build python --replace");
      assertThat(daemon.asked.getLast()).startsWith("GET /v1/snapshots/python");
    }
  }

  /** What this host lacks is nothing to a daemon that runs already, or on another one. */
  @Test
  void aNamedDaemonNeedsNoPackagesHere() {
    FakeDaemon.Outcome outcome = daemon.run("quickstart", "-n", "1");
    assertThat(outcome.err()).doesNotContain("host packages");
    assertThat(daemon.asked).anyMatch(request -> request.startsWith("POST /v1/templates"));
  }
}
