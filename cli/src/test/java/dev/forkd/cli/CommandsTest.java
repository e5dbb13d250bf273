package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.cli.FakeDaemon.Outcome;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Shows what each command asks of a daemon, what it prints, and the status it ends with. */
class CommandsTest {
  private static final String CHILD =
      """
      {"id":"sb1","snapshot_tag":"python","netns":null,"guest_addr":"10.42.0.2:8888",
       "created_at_unix":1,"pid":77,"memory_limit_mib":256,"has_branched":true,
       "last_branch_memory_path":null,"branch_count":1,"isolation":"emulation","state":"idle",
       "memory_mib":512,"diverged_bytes":1048576,"a_later_field":[1],
       "certificate":{"state":"verified","hostname":"sb1","clock_offset_ms":3}}\
      """;
  private static final String TEMPLATE =
      """
      {"tag":"python","dir":"/d/python","created_at_unix":1,"status":"ready","bootable":true,
       "template":true,"memory_mib":512,"memory_bytes":104857600,"disk_bytes":209715200}\
      """;
  private static final String BRANCH =
      """
      {"tag":"b1","dir":"/d/b1","created_at_unix":2,"branched_from":"sb1","pause_ms":7,
       "diff_physical_bytes":2097152,"status":"ready","bootable":true,"template":false,
       "parent_tag":"python","source_tag":"python","memory_mib":512,"memory_bytes":1,"disk_bytes":1}\
      """;

  @TempDir Path folder;
  private FakeDaemon daemon;

  @BeforeEach
  void start() throws Exception {
    daemon =
        new FakeDaemon()
            .answers("GET /v1/sandboxes", 200, "[" + CHILD + "]")
            .answers("GET /v1/sandboxes/sb1", 200, CHILD)
            .answers("GET /v1/snapshots", 200, "[" + TEMPLATE + "," + BRANCH + "]")
            .answers("GET /v1/snapshots/python", 200, TEMPLATE)
            .answers("GET /v1/snapshots/b1", 200, BRANCH);
  }

  @AfterEach
  void stop() {
    daemon.close();
  }

  @Test
  void wrongUsageIsStatusTwo() {
    for (String line :
        new String[] {
          "",
          "nonsense",
          "fork",
          "fork --tag a b",
          "kill",
          "kill --all sb1",
          "exec sb1",
          "ps",
          "rmi",
          "rmi --cascade --force a",
          "snapshot-info",
          "snapshot-compact --from a",
          "snapshot-diff --from a --tag b",
          "cp a b",
          "cp sb1:/a sb2:/b",
          "cp a sb1:relative",
          "template",
          "template build a",
          "template build a --packages x --rootfs y",
          "bench -n 0",
          "quickstart -n 1001"
        }) {
      Outcome outcome =
          line.isEmpty()
              ? FakeDaemon.execute()
              : line.startsWith("cp") || line.startsWith("kill") || line.startsWith("fork")
                  ? daemon.run(line.split(" "))
                  : line.startsWith("bench") || line.equals("template build a")
                      ? daemon.run(line.split(" "))
                      : FakeDaemon.execute(line.split(" "));
      assertThat(outcome.status()).as("'%s': %s", line, outcome.err()).isEqualTo(2);
      assertThat(outcome.err()).as(line).isNotBlank();
    }
    assertThat(daemon.asked).isEmpty();
  }

  /** A pool is set on its snapshot, looked at, and listed; half a wish is wrong usage. */
  @Test
  void poolsAreSetAndShown() {
    String pool = "{\"tag\":\"python\",\"size\":5,\"prewarm\":true,\"ready\":2,\"starting\":1}";
    daemon
        .answers("PUT /v1/snapshots/python/pool", 200, pool)
        .answers("GET /v1/snapshots/python/pool", 200, pool)
        .answers("GET /v1/pools", 200, "[" + pool + "]");
    Outcome set = daemon.run("pool", "python", "--size", "5", "--prewarm");
    assertThat(set.status()).as(set.err()).isZero();
    assertThat(set.out().lines().toList().get(1).split(" +"))
        .containsExactly("python", "5", "2", "1", "yes");
    assertThat(daemon.run("pool", "python").out()).isEqualTo(set.out());
    assertThat(daemon.run("pool").out()).isEqualTo(set.out());
    assertThat(daemon.run("pool", "--json").out()).contains("\"ready\"");
    assertThat(daemon.run("pool", "--size", "5").status()).isEqualTo(2);
    assertThat(daemon.run("pool", "python", "--prewarm").status()).isEqualTo(2);
  }

  @Test
  void aRefusalIsOneLineWithTheDaemonsWords() {
    Outcome outcome = daemon.run("ps", "sbnope");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err()).startsWith("Error: no GET /v1/sandboxes/sbnope");
    assertThat(outcome.err().lines()).hasSize(1);
  }

  @Test
  void aDaemonThatIsNotThereIsNamed() {
    Outcome outcome = FakeDaemon.execute("ls", "--daemon-url", "http://127.0.0.1:1");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err()).contains("http://127.0.0.1:1");
  }

  @Test
  void somethingThatIsNoDaemonIsSaidSo() {
    daemon.answers("GET /v1/sandboxes", 200, "<html>");
    Outcome outcome = daemon.run("ls");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err()).startsWith("Error: ").contains("JSON");
  }

  @Test
  void forkPrintsIdsAndSendsWhatWasAsked() {
    daemon.answers("POST /v1/sandboxes", 201, "[" + CHILD + "]");
    Outcome outcome = daemon.run("fork", "python", "-n", "3", "--memory-limit-mib", "256");
    assertThat(outcome).isEqualTo(new Outcome(0, "sb1\n", ""));
    assertThat(daemon.asked.getFirst())
        .contains("\"snapshot_tag\":\"python\"")
        .contains("\"n\":3")
        .contains("\"memory_limit_mib\":256");
  }

  @Test
  void aPartialForkThatLostOneFails() {
    daemon.answers(
        "POST /v1/sandboxes",
        201,
        "[{\"sandbox\":" + CHILD + "},{\"error\":\"no memory\",\"code\":\"resource_exhausted\"}]");
    Outcome outcome = daemon.run("fork", "python", "-n", "2", "--partial");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.out()).isEqualTo("sb1\n");
    assertThat(outcome.err()).contains("no memory");
  }

  @Test
  void lsPsAndTreeShowTheSameSandbox() {
    assertThat(daemon.run("ls").out()).contains("sb1  python    idle").contains("1 MiB");
    assertThat(daemon.run("ls", "--json").out()).startsWith("[{\"id\":\"sb1\"").endsWith("]\n");
    assertThat(daemon.run("ps", "sb1").out())
        .contains("certificate             verified")
        .contains("clock offset          3 ms");
    assertThat(daemon.run("tree").out())
        .isEqualTo(
            """
            ▣ python  template
            └─ ● sb1  idle, 1 MiB of its own
               └─ ◆ b1  snapshot, paused 7 ms, 2 MiB diverged
            """);
    assertThat(daemon.run("tree", "--json").out())
        .contains("{\"kind\":\"snapshot\",\"name\":\"b1\",\"parent\":\"sb1\"}");
  }

  @Test
  void snapshotsAndImages() {
    assertThat(daemon.run("snapshot", "ls").out()).contains("b1").contains("7 ms");
    assertThat(daemon.run("snapshot", "info", "b1").out()).contains("branched from       sb1");
    assertThat(daemon.run("template", "ls").out()).contains("python").doesNotContain("b1");
    assertThat(daemon.run("images").out()).contains("300 MiB").contains("total 300 MiB");
  }

  @Test
  void execStreamsBothStreamsAndPassesTheStatusOn() {
    daemon.answers(
        "POST /v1/sandboxes/sb1/exec/stream",
        200,
        "{\"session\":\"1\"}\n{\"alive\":true}\n{\"exit_code\":3}\n");
    assertThat(daemon.run("exec", "sb1", "--", "sh", "-c", "exit 3").status()).isEqualTo(3);
    assertThat(daemon.asked.getLast()).contains("\"args\":[\"sh\",\"-c\",\"exit 3\"]");
  }

  @Test
  void whatFollowsTheSandboxIsTheGuests() {
    daemon.answers(
        "POST /v1/sandboxes/sb1/exec/stream", 200, "{\"session\":\"1\"}\n{\"exit_code\":0}\n");
    assertThat(daemon.run("exec", "-e", "A=1", "sb1", "ls", "-la", "--", "x").status()).isZero();
    assertThat(daemon.asked.getLast())
        .contains("\"args\":[\"ls\",\"-la\",\"--\",\"x\"]")
        .contains("\"A\":\"1\"");
    assertThat(daemon.run("exec", "sb1", "--timeout-secs", "5", "--", "true").status())
        .isEqualTo(2);
    assertThat(daemon.run("exec", "sb1", "--").status()).isEqualTo(2);
    daemon.answers("POST /v1/sandboxes/sb1/eval", 200, "{\"result\":\"-1\",\"exit_code\":0}");
    assertThat(daemon.run("eval", "sb1", "-1").out()).isEqualTo("-1\n");
  }

  @Test
  void execHandsTheGuestsBytesOnUnchanged() {
    daemon.answers(
        "POST /v1/sandboxes/sb1/exec/stream",
        200,
        "{\"session\":\"1\"}\n{\"stdout\":\""
            + base64("out\n")
            + "\"}\n{\"stderr\":\""
            + base64("err")
            + "\"}\n{\"exit_code\":0}\n");
    PrintStream out = System.out;
    PrintStream err = System.err;
    ByteArrayOutputStream outBytes = new ByteArrayOutputStream();
    ByteArrayOutputStream errBytes = new ByteArrayOutputStream();
    try {
      System.setOut(new PrintStream(outBytes, true, StandardCharsets.UTF_8));
      System.setErr(new PrintStream(errBytes, true, StandardCharsets.UTF_8));
      assertThat(daemon.run("exec", "sb1", "true").status()).isZero();
    } finally {
      System.setOut(out);
      System.setErr(err);
    }
    assertThat(outBytes.toString(StandardCharsets.UTF_8)).isEqualTo("out\n");
    assertThat(errBytes.toString(StandardCharsets.UTF_8)).isEqualTo("err");
  }

  @Test
  void anExecThatBreaksOffIsAnErrorAndNoStatus() {
    daemon.answers("POST /v1/sandboxes/sb1/exec/stream", 200, "{\"session\":\"1\"}\n");
    Outcome outcome = daemon.run("exec", "sb1", "true");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err()).contains("ends before the command does");
    daemon.answers(
        "POST /v1/sandboxes/sb1/exec/stream",
        200,
        "{\"error\":\"killed meanwhile\",\"code\":\"cancelled\"}\n");
    assertThat(daemon.run("exec", "sb1", "true").err()).contains("killed meanwhile");
  }

  @Test
  void evalPrintsTheResultAndFailsWhenItRaised() {
    daemon.answers(
        "POST /v1/sandboxes/sb1/eval",
        200,
        "{\"result\":\"2\",\"error\":null,\"exit_code\":0,\"stdout\":\"hi\\n\",\"duration_ms\":1}");
    assertThat(daemon.run("eval", "sb1", "1", "+", "1")).isEqualTo(new Outcome(0, "hi\n2\n", ""));
    assertThat(daemon.asked.getLast()).contains("\"code\":\"1 + 1\"");
    daemon.answers(
        "POST /v1/sandboxes/sb1/eval",
        200,
        "{\"result\":null,\"error\":\"ZeroDivisionError: x\",\"exit_code\":1,\"duration_ms\":1}");
    Outcome raised = daemon.run("eval", "sb1", "1/0");
    assertThat(raised).isEqualTo(new Outcome(1, "", "ZeroDivisionError: x\n"));
  }

  @Test
  void branchIsADiffUnlessToldOtherwise() {
    daemon.answers("POST /v1/sandboxes/sb1/branch", 201, BRANCH);
    assertThat(daemon.run("branch", "sb1", "b1").out()).isEqualTo("b1\n");
    assertThat(daemon.asked.getLast()).contains("\"diff\":true").contains("\"tag\":\"b1\"");
    daemon.run("branch", "sb1", "--measure-diff");
    assertThat(daemon.asked.getLast()).contains("\"diff\":false").contains("\"measure_diff\":true");
    daemon.run("branch", "sb1", "--parent");
    assertThat(daemon.asked.getLast()).contains("\"parent_tag\":\"python\"");
  }

  @Test
  void aLinkIsMadeOfWhatACommandChanged() {
    daemon
        .answers("POST /v1/sandboxes", 201, "[" + CHILD + "]")
        .answers(
            "POST /v1/sandboxes/sb1/ping",
            200,
            "{\"pong\":true,\"numpy_version\":\"1\",\"warmup_ready\":true,"
                + "\"agent_version\":\"1\",\"evaluator\":\"ready\",\"processes\":0,"
                + "\"idle\":true,\"round_trip_ms\":1}")
        .answers(
            "POST /v1/sandboxes/sb1/exec/stream",
            200,
            "{\"session\":\"1\"}\n{\"stdout\":\"" + base64("made\n") + "\"}\n{\"exit_code\":0}\n")
        .answers("POST /v1/sandboxes/sb1/branch", 201, BRANCH)
        .answers("DELETE /v1/sandboxes/sb1", 204, "");
    String[] line = {
      "snapshot-diff", "--from", "python", "--tag", "b1", "--exec", "sh -c 'echo \"a b\" >x'"
    };
    Outcome made = daemon.run(line);
    assertThat(made.status()).as(made.err()).isZero();
    assertThat(made.out())
        .isEqualTo(
            """
            tag: b1
            dir: /d/b1
            parent_tag: python
            pause_ms: 7
            diff_physical_bytes: 2097152
            """);
    assertThat(made.err()).contains("made\n");
    assertThat(daemon.asked).hasSize(5);
    assertThat(daemon.asked.get(0)).contains("\"snapshot_tag\":\"python\"", "\"n\":1");
    assertThat(daemon.asked.get(2))
        .contains("\"args\":[\"sh\",\"-c\",\"echo \\\"a b\\\" >x\"]", "\"timeout_secs\":600");
    assertThat(daemon.asked.get(3))
        .contains("\"diff\":true", "\"parent_tag\":\"python\"", "\"tag\":\"b1\"");
    assertThat(daemon.asked.get(4)).isEqualTo("DELETE /v1/sandboxes/sb1");

    // A command that fails, a branch that is refused, a guest that never answers: nothing is left.
    daemon.answers(
        "POST /v1/sandboxes/sb1/exec/stream", 200, "{\"session\":\"1\"}\n{\"exit_code\":3}\n");
    Outcome failed = daemon.run(line);
    assertThat(failed.status()).isEqualTo(1);
    assertThat(failed.out()).isEmpty();
    assertThat(failed.err()).contains("ended with status 3; nothing was saved");
    assertThat(daemon.asked.getLast()).isEqualTo("DELETE /v1/sandboxes/sb1");
    assertThat(daemon.asked.stream().filter(request -> request.contains("/branch"))).hasSize(1);
    daemon
        .answers(
            "POST /v1/sandboxes/sb1/exec/stream", 200, "{\"session\":\"1\"}\n{\"exit_code\":0}\n")
        .answers(
            "POST /v1/sandboxes/sb1/branch",
            409,
            "{\"error\":\"32 links: compact\",\"code\":\"failed_precondition\"}");
    assertThat(daemon.run(line).err()).contains("32 links: compact");
    assertThat(daemon.asked.getLast()).isEqualTo("DELETE /v1/sandboxes/sb1");
    daemon.answers(
        "POST /v1/sandboxes/sb1/ping", 404, "{\"error\":\"gone\",\"code\":\"not_found\"}");
    assertThat(daemon.run(line).err()).contains("gone");
    assertThat(daemon.asked.getLast()).isEqualTo("DELETE /v1/sandboxes/sb1");
  }

  @Test
  void whatMakesNoLinkIsRefusedBeforeAnythingIsAsked() {
    for (String exec : new String[] {"", "  ", "sh -c 'open"}) {
      Outcome outcome = daemon.run("snapshot-diff", "--from", "a", "--tag", "b", "--exec", exec);
      assertThat(outcome.status()).as(exec).isEqualTo(2);
    }
    assertThat(
            daemon
                .run(
                    "snapshot-diff",
                    "--from",
                    "a",
                    "--tag",
                    "b",
                    "--exec",
                    "true",
                    "--exec-timeout-secs",
                    "0")
                .status())
        .isEqualTo(2);
    assertThat(daemon.asked).isEmpty();
  }

  @Test
  void wordsAreGroupedByQuotes() {
    assertThat(Words.split("pip install 'a b'  \"c'd\"e ''"))
        .contains(java.util.List.of("pip", "install", "a b", "c'de", ""));
    assertThat(Words.split("a\\ b\t\"x\ny\"").orElseThrow()).containsExactly("a\\", "b", "x\ny");
    assertThat(Words.split(" ").orElseThrow()).isEmpty();
    assertThat(Words.split("a 'b")).isEmpty();
  }

  @Test
  void chainsAreShownAndCompacted() {
    daemon
        .answers(
            "GET /v1/snapshots/b1/info",
            200,
            """
            {"tag":"b1","dir":"/d/b1","created_at_unix":2,"memory_logical_bytes":536870912,
             "memory_physical_bytes":2097152,"memory_shared_bytes":104857600,"vmstate_bytes":13000,
             "disk_own_bytes":1048576,"disk_shared_bytes":0,"parent_tag":"python","chain_depth":1,
             "dependents":["b2","b3"],"ancestors":["python"],"later":1}\
            """)
        .answers(
            "POST /v1/snapshots/b1/compact",
            200,
            BRANCH.replace("sb1", "compact:b1").replace("\"b1\"", "\"flat\""));
    Outcome shown = daemon.run("snapshot-info", "b1");
    assertThat(shown.status()).as(shown.err()).isZero();
    assertThat(shown.out())
        .contains("memory on disk      2 MiB of its own, 100 MiB shared")
        .contains("chain depth         1")
        .contains("ancestors           python")
        .contains("dependents          b2, b3");
    assertThat(daemon.run("snapshot-info", "b1", "--json").out())
        .startsWith("{\"tag\":\"b1\"")
        .contains("\"chain_depth\":1");
    Outcome made = daemon.run("snapshot-compact", "--from", "b1", "--to", "flat");
    assertThat(made.status()).as(made.err()).isZero();
    assertThat(made.out()).contains("tag: flat\n").contains("lineage: compact:b1\n");
    assertThat(daemon.asked.getLast()).endsWith("{\"to\":\"flat\"}");
  }

  @Test
  void templateBuildShowsProgressAndPassesErrorsOn() {
    daemon.answers(
        "POST /v1/templates",
        200,
        "{\"progress\":\"boots\"}\n{\"snapshot\":" + TEMPLATE.replace("\n", "") + "}\n");
    Outcome built = daemon.run("template", "build", "python", "--packages", "a,b", "--warm", "x=1");
    assertThat(built.status()).as(built.err()).isZero();
    assertThat(built.out()).isEqualTo("python\n");
    assertThat(built.err()).contains("==> boots").contains("✓ template python");
    assertThat(daemon.asked.getFirst()).contains("\"packages\":[\"a\",\"b\"]").contains("x=1");
    // One that forkd knows needs no recipe, and takes more of what can be given beside one.
    Outcome known = daemon.run("template", "build", "base", "--run", "echo more");
    assertThat(known.status()).as(known.err()).isZero();
    assertThat(daemon.asked.getLast()).contains("\"base\"", "echo more");
    assertThat(daemon.asked.getLast()).doesNotContain("packages", "rootfs");
    assertThat(daemon.run("template", "build", "bass").err())
        .contains("--packages", "python, base");
    daemon.answers(
        "POST /v1/templates",
        200,
        "{\"error\":\"never got ready\",\"code\":\"deadline_exceeded\"}\n");
    assertThat(daemon.run("template", "build", "p", "--rootfs", "r.ext4").err())
        .contains("never got ready");
    assertThat(daemon.asked.getLast()).contains("\"rootfs\":\"/");
  }

  /** What a shell needs to point E2B's SDKs here, and nothing else. */
  @Test
  void e2bEnvIsForTheShell() {
    daemon.answers("GET /version", 200, "{\"version\":\"0.1.0\"}");
    Outcome told = daemon.run("e2b", "env");
    assertThat(told.status()).as(told.err()).isZero();
    assertThat(told.out().lines())
        .containsExactly(
            "export E2B_API_URL=" + daemon.url(),
            "export E2B_SANDBOX_URL=" + daemon.url(),
            "export E2B_API_KEY=" + dev.forkd.api.ApiKey.of("secret"));
    assertThat(dev.forkd.api.ApiKey.of("secret")).matches("e2b_[0-9a-f]{40}");
  }

  @Test
  void killAllAndRmiGoOnAfterAFailure() {
    daemon.answers("DELETE /v1/sandboxes/sb1", 204, "");
    assertThat(daemon.run("kill", "--all")).isEqualTo(new Outcome(0, "✓ sb1\n", ""));
    Outcome mixed = daemon.run("kill", "sbnope", "sb1");
    assertThat(mixed.status()).isEqualTo(1);
    assertThat(mixed.out()).isEqualTo("✓ sb1\n");
    daemon.answers("DELETE /v1/snapshots/b1?cascade=true", 204, "");
    assertThat(daemon.run("rmi", "--cascade", "b1").status()).isZero();
    assertThat(daemon.run("rmi", "nope").status()).isEqualTo(1);
    daemon
        .answers("DELETE /v1/snapshots/b1?force=true", 204, "")
        .answers(
            "DELETE /v1/snapshots/python",
            409,
            "{\"error\":\"1 dependent (b1)\",\"code\":\"failed_precondition\"}");
    assertThat(daemon.run("rmi", "--force", "b1").out()).isEqualTo("✓ b1\n");
    assertThat(daemon.run("rmi", "python").err()).contains("1 dependent (b1)");
  }

  @Test
  void cpCarriesFilesBothWays() throws Exception {
    Path file = Files.writeString(folder.resolve("a b.txt"), "hello");
    daemon
        .answers(
            "GET /v1/sandboxes/sb1/files/stat?path=%2Froot",
            200, "{\"path\":\"/root\",\"type\":\"directory\"}")
        .answers(
            "PUT /v1/sandboxes/sb1/files?path=%2Froot%2Fa%20b.txt",
            201, "{\"path\":\"/root/a b.txt\",\"size_bytes\":5}");
    Outcome up = daemon.run("cp", file.toString(), "sb1:/root");
    assertThat(up.status()).as(up.err()).isZero();
    assertThat(up.err()).contains("1 file, 5 B");
    assertThat(daemon.asked.getLast()).endsWith("hello");
    daemon
        .answers(
            "GET /v1/sandboxes/sb1/files/stat?path=%2Fetc%2Fx",
            200, "{\"path\":\"/etc/x\",\"type\":\"file\"}")
        .answers("GET /v1/sandboxes/sb1/files?path=%2Fetc%2Fx", 200, "content");
    assertThat(daemon.run("cp", "sb1:/etc/x", folder.toString()).status()).isZero();
    assertThat(folder.resolve("x")).hasContent("content");
  }

  @Test
  void cpTrustsNoNamesFromAGuest() {
    daemon
        .answers(
            "GET /v1/sandboxes/sb1/files/stat?path=%2Fd",
            200, "{\"path\":\"/d\",\"type\":\"directory\"}")
        .answers(
            "GET /v1/sandboxes/sb1/files/list?path=%2Fd",
            200, "[{\"path\":\"/d/..\",\"type\":\"file\"}]");
    Outcome outcome = daemon.run("cp", "sb1:/d", folder.resolve("d").toString());
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err()).contains("'..'");
  }

  @Test
  void completionKnowsTheCommands() {
    Outcome outcome = FakeDaemon.execute("completion");
    assertThat(outcome.status()).isZero();
    assertThat(outcome.out())
        .contains("quickstart", "--memory-limit-mib", "snapshot-diff", "--exec-timeout-secs");
  }

  /** The launcher keeps no AOT cache from a warm-up that failed. */
  @Test
  void theWarmUpSucceeds() {
    assertThat(FakeDaemon.execute("warm-up").status()).isZero();
  }

  @Test
  void everyCommandHasHelp() {
    assertThat(FakeDaemon.execute("--help").out())
        .contains("quickstart", "serve")
        .contains("FORKD_DATA_DIR", "FORKD_URL", "FORKD_TOKEN", "FORKD_CA_FILE");
    for (String name : Main.commandLine().getSubcommands().keySet()) {
      if (!name.equals("warm-up") && !name.equals("serve")) {
        assertThat(FakeDaemon.execute(name, "--help").status()).as(name).isZero();
      }
    }
  }

  @Test
  void theDataDirFollowsTheEnvironment() {
    assertThat(DataDir.from(Map.of("HOME", "/h")).path()).hasToString("/h/.local/share/forkd");
    assertThat(DataDir.from(Map.of("HOME", "/h", "XDG_DATA_HOME", "/x")).path())
        .hasToString("/x/forkd");
    assertThat(DataDir.from(Map.of("FORKD_DATA_DIR", "/d", "XDG_DATA_HOME", "/x")).path())
        .hasToString("/d");
  }

  @Test
  void aDaemonFileOfADeadProcessCountsAsNone() throws Exception {
    DataDir dataDir = new DataDir(folder);
    assertThat(DaemonFile.ofLiveDaemon(dataDir)).isEmpty();
    Files.writeString(dataDir.daemonFile(), "{\"url\":");
    assertThat(DaemonFile.ofLiveDaemon(dataDir)).isEmpty();
    Files.writeString(dataDir.daemonFile(), daemonFile(ProcessHandle.current().pid(), 1));
    assertThat(DaemonFile.ofLiveDaemon(dataDir)).as("another process with the pid").isEmpty();
    long ticks = dev.forkd.linux.ProcessIdentity.self().startTicks();
    Files.writeString(dataDir.daemonFile(), daemonFile(ProcessHandle.current().pid(), ticks));
    assertThat(DaemonFile.ofLiveDaemon(dataDir)).isPresent();
  }

  @Test
  void theRunningDaemonOfTheDataDirIsUsedWithItsToken() throws Exception {
    Path token = Files.writeString(folder.resolve("token"), "secret\n");
    daemon.answers("GET /healthz", 200, "{\"ok\":true}");
    long ticks = dev.forkd.linux.ProcessIdentity.self().startTicks();
    Files.writeString(
        folder.resolve("daemon.json"),
        """
        {"url":"%s","pid":%d,"startTicks":%d,"tokenFile":"%s","background":true,"version":"1"}\
        """
            .formatted(daemon.url(), ProcessHandle.current().pid(), ticks, token));
    Outcome outcome = FakeDaemon.execute("ls", "--data-dir", folder.toString());
    assertThat(outcome.out() + outcome.err()).contains("sb1");
  }

  @Test
  void mediansAreTakenFromTheMiddle() {
    assertThat(new Series(new double[] {9, 1, 5}).median()).isEqualTo(5);
    assertThat(new Series(new double[] {9, 1, 5, 7}).median()).isEqualTo(6);
    assertThat(new Series(new double[] {10, 9, 8, 7, 6, 5, 4, 3, 2, 1}).p90()).isEqualTo(9);
    assertThat(new Series(new double[] {3}).p90()).isEqualTo(3);
    assertThat(Series.show(8.44)).isEqualTo("8.4 ms");
    assertThat(Series.show(155.4)).isEqualTo("155 ms");
    assertThat(Series.show(12_345)).isEqualTo("12.3 s");
    assertThat(ProcessUse.cpuMillis((int) ProcessHandle.current().pid()).orElseThrow())
        .isPositive();
    assertThat(ProcessUse.parse("Rss: 9 kB\nPss:    3 kB\n").orElseThrow()).isEqualTo(3072);
  }

  private static String daemonFile(long pid, long ticks) {
    return "{\"url\":\"http://x\",\"pid\":"
        + pid
        + ",\"startTicks\":"
        + ticks
        + ",\"tokenFile\":\"t\",\"background\":true,\"version\":\"1\",\"later\":1}";
  }

  private static String base64(String text) {
    return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
  }
}
