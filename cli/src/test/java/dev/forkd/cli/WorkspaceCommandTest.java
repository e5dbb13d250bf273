package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.cli.FakeDaemon.Outcome;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Shows what each workspace command asks of a daemon, what it prints, and how it ends. */
class WorkspaceCommandTest {
  private static final String RUNNING =
      """
      {"id":"ws-sb1","name":"desk","source_snapshot_tag":"python","status":"running",\
      "live_sandbox_id":"sb1","created_at_unix":1,"last_active_unix":2,"memory_limit_mib":256,\
      "a_later_field":1}\
      """;
  private static final String SUSPENDED =
      """
      {"id":"ws-sb1","name":"desk","source_snapshot_tag":"python","status":"suspended",\
      "current_state_tag":"ws-desk-state","created_at_unix":1,"last_active_unix":3}\
      """;
  private static final String CHILD = "{\"id\":\"sb1\",\"snapshot_tag\":\"python\"}";

  private FakeDaemon daemon;

  @BeforeEach
  void start() throws Exception {
    daemon =
        new FakeDaemon()
            .answers("GET /v1/workspaces", 200, "[" + RUNNING + "]")
            .answers("GET /v1/workspaces/desk", 200, RUNNING)
            .answers("GET /v1/sandboxes/sb1", 200, CHILD);
  }

  @AfterEach
  void stop() {
    daemon.close();
  }

  @Test
  void createPrintsTheSandbox() {
    daemon.answers("POST /v1/workspaces", 201, RUNNING);
    Outcome created = daemon.run("workspace", "create", "desk", "--from", "python");
    assertThat(created).isEqualTo(new Outcome(0, "sb1\n", "✓ workspace desk created\n"));
    assertThat(daemon.asked.getLast())
        .contains("\"name\":\"desk\"", "\"snapshot_tag\":\"python\"")
        .doesNotContain("memory_limit_mib");
    daemon.run(
        "workspace",
        "create",
        "desk",
        "--snapshot",
        "python",
        "--memory-limit-mib",
        "256",
        "--json");
    assertThat(daemon.asked.getLast()).contains("\"memory_limit_mib\":256");
  }

  @Test
  void lsAndShow() {
    assertThat(daemon.run("workspace", "ls").out())
        .contains("NAME  STATUS   SOURCE  STATE  SANDBOX")
        .contains("desk  running  python  -      sb1");
    assertThat(daemon.run("workspace", "list", "--json").out()).startsWith("[{\"id\":\"ws-sb1\"");
    assertThat(daemon.run("workspace", "show", "desk").out())
        .contains("status              running")
        .contains("memory limit        256 MiB")
        .doesNotContain("state ");
    assertThat(daemon.run("workspace", "show", "desk", "--json").out())
        .startsWith("{\"id\":\"ws-sb1\"");
    Outcome unknown = daemon.run("workspace", "show", "nope");
    assertThat(unknown.status()).isEqualTo(1);
    assertThat(unknown.err()).contains("GET /v1/workspaces/nope");
  }

  @Test
  void suspendAndResume() {
    daemon
        .answers("POST /v1/workspaces/desk/suspend", 200, SUSPENDED)
        .answers("POST /v1/workspaces/desk/resume", 200, RUNNING);
    assertThat(daemon.run("workspace", "suspend", "desk"))
        .isEqualTo(new Outcome(0, "ws-desk-state\n", "✓ workspace desk suspended\n"));
    assertThat(daemon.asked.getLast()).endsWith("{\"diff\":false}");
    daemon.run("workspace", "suspend", "--diff", "desk");
    assertThat(daemon.asked.getLast()).endsWith("{\"diff\":true}");
    assertThat(daemon.run("workspace", "resume", "desk").out()).isEqualTo("sb1\n");
    assertThat(daemon.run("workspace", "resume", "desk", "--json").out()).startsWith("{\"id\":");
  }

  @Test
  void rmGoesOnAfterAFailureAndSaysWhatStays() {
    daemon.answers("DELETE /v1/workspaces/desk", 204, "");
    Outcome mixed = daemon.run("workspace", "rm", "nope", "desk");
    assertThat(mixed.status()).isEqualTo(1);
    assertThat(mixed.out()).isEqualTo("✓ desk\n");
    assertThat(mixed.err()).startsWith("✗ nope: ").hasLineCount(1);
    daemon.answers("GET /v1/workspaces/desk", 200, SUSPENDED);
    assertThat(daemon.run("workspace", "rm", "desk").err()).isEmpty();
    daemon.answers("GET /v1/snapshots/ws-desk-state", 200, "{\"tag\":\"ws-desk-state\"}");
    assertThat(daemon.run("workspace", "rm", "desk").err()).contains("ws-desk-state stays");
  }

  @Test
  void execAndEvalFindTheSandboxByTheName() {
    daemon
        .answers(
            "POST /v1/sandboxes/sb1/exec/stream", 200, "{\"session\":\"1\"}\n{\"exit_code\":3}\n")
        .answers("POST /v1/sandboxes/sb1/eval", 200, "{\"result\":\"-1\",\"exit_code\":0}");
    assertThat(daemon.run("workspace", "exec", "desk", "--", "ls", "-la").status()).isEqualTo(3);
    assertThat(daemon.asked.getLast()).contains("\"args\":[\"ls\",\"-la\"]");
    assertThat(daemon.run("workspace", "exec", "-e", "A=1", "desk", "ls", "-la").status())
        .isEqualTo(3);
    assertThat(daemon.asked.getLast()).contains("\"A\":\"1\"");
    assertThat(daemon.run("workspace", "eval", "desk", "-1").out()).isEqualTo("-1\n");
    daemon.answers("GET /v1/workspaces/desk", 200, SUSPENDED);
    Outcome away = daemon.run("workspace", "exec", "desk", "true");
    assertThat(away.status()).isEqualTo(1);
    assertThat(away.err()).contains("'desk' is suspended; resume it first");
  }

  @Test
  void wrongUsageIsStatusTwoAndEveryCommandHasHelp() {
    for (String line :
        new String[] {
          "workspace",
          "workspace create desk",
          "workspace create --from python",
          "workspace suspend",
          "workspace rm",
          "workspace exec desk"
        }) {
      Outcome outcome = FakeDaemon.execute(line.split(" "));
      assertThat(outcome.status()).as(line).isEqualTo(2);
      assertThat(outcome.err()).as(line).isNotBlank();
    }
    assertThat(daemon.asked).isEmpty();
    for (String name :
        Main.commandLine().getSubcommands().get("workspace").getSubcommands().keySet()) {
      assertThat(FakeDaemon.execute("workspace", name, "--help").status()).as(name).isZero();
    }
    assertThat(FakeDaemon.execute("completion").out()).contains("workspace", "suspend", "--from");
  }
}
