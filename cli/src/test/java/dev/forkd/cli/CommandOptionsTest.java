package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.cli.FakeDaemon.Outcome;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Shows what the options of commands change: what is asked of the daemon, and what is printed. */
class CommandOptionsTest {
  private static final String CHILD =
      "{\"id\":\"%s\",\"snapshot_tag\":\"%s\",\"pid\":1,\"created_at_unix\":1}";
  private static final String BRANCH =
      "{\"tag\":\"b1\",\"branched_from\":\"sb1\",\"pause_ms\":7,\"status\":\"ready\"}";
  private static final String STREAM = "POST /v1/sandboxes/sb1/exec/stream";

  @TempDir Path folder;
  private FakeDaemon daemon;

  @BeforeEach
  void start() throws Exception {
    String one = CHILD.formatted("sb1", "python");
    String two = CHILD.formatted("sb2", "other");
    daemon =
        new FakeDaemon()
            .answers("GET /v1/sandboxes", 200, "[" + one + "," + two + "]")
            .answers("GET /v1/sandboxes/sb1", 200, one)
            .answers("GET /v1/sandboxes/sb2", 200, two)
            .answers("POST /v1/sandboxes", 201, "[" + one + "]")
            .answers("POST /v1/sandboxes/sb1/branch", 201, BRANCH)
            .answers("DELETE /v1/sandboxes/sb1", 204, "");
  }

  @AfterEach
  void stop() {
    daemon.close();
  }

  private static JsonNode json(Outcome outcome) {
    assertThat(outcome.out()).as("one line").endsWith("\n").hasLineCount(1);
    return JsonMapper.shared().readTree(outcome.out());
  }

  /** Our standard input goes to the command, its end as well, and only then does it end. */
  @Test
  void execPassesStandardInputOn() {
    daemon
        .answersAfter(
            STREAM,
            "{\"session\":\"7\"}\n",
            "POST /v1/sandboxes/sb1/exec/7/stdin?eof=true",
            "{\"stdout\":\"" + base64("HELLO") + "\"}\n{\"exit_code\":4}\n")
        .answers("POST /v1/sandboxes/sb1/exec/7/stdin", 204, "")
        .answers("POST /v1/sandboxes/sb1/exec/7/stdin?eof=true", 204, "");
    InputStream in = System.in;
    PrintStream out = System.out;
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    try {
      System.setIn(new ByteArrayInputStream("hello".getBytes(StandardCharsets.UTF_8)));
      System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
      Outcome outcome = daemon.run("exec", "-i", "sb1", "tr", "a-z", "A-Z");
      assertThat(outcome.status()).as(outcome.err()).isEqualTo(4);
    } finally {
      System.setIn(in);
      System.setOut(out);
    }
    assertThat(printed.toString(StandardCharsets.UTF_8)).isEqualTo("HELLO");
    assertThat(daemon.asked)
        .filteredOn(request -> request.startsWith("POST"))
        .satisfiesExactly(
            request -> assertThat(request).contains("\"timeout_secs\":86400").contains("true"),
            request -> assertThat(request).endsWith("/exec/7/stdin hello"),
            request -> assertThat(request).endsWith("/exec/7/stdin?eof=true"));
  }

  /** Without -i nothing is read: a command in a script must not eat the script's input. */
  @Test
  void execLeavesStandardInputAloneOtherwise() throws Exception {
    daemon.answers(STREAM, 200, "{\"session\":\"7\"}\n{\"exit_code\":0}\n");
    InputStream in = System.in;
    InputStream ours = new ByteArrayInputStream(new byte[] {1, 2, 3});
    try {
      System.setIn(ours);
      assertThat(daemon.run("exec", "sb1", "cat").status()).isZero();
    } finally {
      System.setIn(in);
    }
    assertThat(ours.available()).isEqualTo(3);
    assertThat(daemon.asked.getLast()).contains("\"timeout_secs\":30");
  }

  @Test
  void forkSaysHowChildrenAreMade() {
    assertThat(daemon.run("fork", "python", "--prewarm").status()).isZero();
    assertThat(daemon.asked.getLast())
        .contains("\"prewarm\":true", "\"certify\":false")
        .doesNotContain("min_isolation");
    assertThat(daemon.run("fork", "python", "--certify").status()).isZero();
    assertThat(daemon.asked.getLast()).contains("\"prewarm\":false", "\"certify\":true");
    assertThat(daemon.run("fork", "python", "--min-isolation", "kvm").status()).isZero();
    assertThat(daemon.asked.getLast()).contains("\"min_isolation\":\"kvm\"");
    assertThat(daemon.run("fork", "python", "--min-isolation", "emulation").status()).isZero();
    assertThat(daemon.asked.getLast()).doesNotContain("min_isolation");
    assertThat(daemon.run("fork", "python", "--min-isolation", "strong").status()).isEqualTo(2);
  }

  @Test
  void branchSaysWhatIsCopiedInThePause() {
    assertThat(daemon.run("branch", "sb1", "--full").status()).isZero();
    assertThat(daemon.asked.getLast())
        .contains("\"diff\":false", "\"live\":false", "\"measure_diff\":false")
        .doesNotContain("\"wait\"");
    assertThat(daemon.run("branch", "sb1", "--live").status()).isZero();
    assertThat(daemon.asked.getLast())
        .contains("\"diff\":false", "\"live\":true")
        .doesNotContain("\"wait\"");
    assertThat(daemon.run("branch", "sb1", "--live", "--no-wait").status()).isZero();
    assertThat(daemon.asked.getLast()).contains("\"live\":true", "\"wait\":false");
    int before = daemon.asked.size();
    assertThat(daemon.run("branch", "sb1", "--no-wait").status()).isEqualTo(2);
    assertThat(daemon.run("branch", "sb1", "--full", "--live").status()).isEqualTo(2);
    assertThat(daemon.asked).hasSize(before);
  }

  @Test
  void killTakesTheChildrenOfOneSnapshot() {
    assertThat(daemon.run("kill", "--tag", "python")).isEqualTo(new Outcome(0, "✓ sb1\n", ""));
    assertThat(daemon.asked).noneMatch(request -> request.equals("DELETE /v1/sandboxes/sb2"));
    assertThat(daemon.run("kill", "--tag", "none")).isEqualTo(new Outcome(0, "", ""));
  }

  /** One that was ended between the list and its turn is not told; any other failure is. */
  @Test
  void killTellsProgramsWhatBecameOfEach() {
    daemon.answers(
        "DELETE /v1/sandboxes/sb2", 503, "{\"error\":\"busy\",\"code\":\"unavailable\"}");
    Outcome outcome = daemon.run("kill", "--all", "--json");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err()).isEmpty();
    JsonNode both = json(outcome);
    assertThat(both.size()).isEqualTo(2);
    assertThat(both.get(0).toString()).isEqualTo("{\"name\":\"sb1\",\"removed\":true}");
    assertThat(both.get(1).toString())
        .isEqualTo(
            "{\"name\":\"sb2\",\"removed\":false,\"code\":\"unavailable\",\"error\":\"busy\"}");
    daemon.answers("DELETE /v1/sandboxes/sb2", 404, "{\"error\":\"x\",\"code\":\"not_found\"}");
    Outcome gone = daemon.run("kill", "--all", "--json");
    assertThat(gone.status()).isZero();
    assertThat(json(gone).size()).isEqualTo(1);
    assertThat(daemon.run("kill", "sb2", "--json").status()).isEqualTo(1);
  }

  @Test
  void rmiTellsProgramsWhatBecameOfEach() {
    daemon.answers("GET /v1/snapshots/b1", 200, BRANCH).answers("DELETE /v1/snapshots/b1", 204, "");
    Outcome outcome = daemon.run("rmi", "b1", "nope", "--json");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(json(outcome).findValuesAsString("name")).containsExactly("b1", "nope");
    assertThat(json(outcome).findValuesAsString("removed")).containsExactly("true", "false");
    assertThat(json(outcome).get(1).get("code").asString()).isEqualTo("not_found");
  }

  /** Folders with what is in them, empty ones too; nothing of the host is followed out of them. */
  @Test
  void cpCarriesFoldersIntoTheGuest() throws Exception {
    Path tree = Files.createDirectories(folder.resolve("tree"));
    Files.createDirectories(tree.resolve("empty"));
    Files.createDirectories(tree.resolve("sub"));
    Files.writeString(tree.resolve("a"), "one");
    Files.writeString(tree.resolve("sub/b"), "three");
    daemon
        .answers(
            "GET /v1/sandboxes/sb1/files/stat?path=%2Froot",
            200, "{\"path\":\"/root\",\"type\":\"directory\"}")
        .answers("POST /v1/sandboxes/sb1/files/mkdir", 204, "")
        .answers(
            "PUT /v1/sandboxes/sb1/files?path=%2Froot%2Ftree%2Fa",
            201, "{\"path\":\"/root/tree/a\",\"size_bytes\":3}")
        .answers(
            "PUT /v1/sandboxes/sb1/files?path=%2Froot%2Ftree%2Fsub%2Fb",
            201, "{\"path\":\"/root/tree/sub/b\",\"size_bytes\":5}");
    Outcome outcome = daemon.run("cp", tree.toString(), "sb1:/root");
    assertThat(outcome).isEqualTo(new Outcome(0, "", "✓ 2 files, 8 B\n"));
    assertThat(daemon.asked.subList(2, daemon.asked.size()))
        .containsExactly(
            "POST /v1/sandboxes/sb1/files/mkdir {\"path\":\"/root/tree\"}",
            "PUT /v1/sandboxes/sb1/files?path=%2Froot%2Ftree%2Fa one",
            "POST /v1/sandboxes/sb1/files/mkdir {\"path\":\"/root/tree/empty\"}",
            "POST /v1/sandboxes/sb1/files/mkdir {\"path\":\"/root/tree/sub\"}",
            "PUT /v1/sandboxes/sb1/files?path=%2Froot%2Ftree%2Fsub%2Fb three");
    assertThat(daemon.run("cp", "--json", tree.toString(), "sb1:/root").out())
        .isEqualTo("{\"files\":2,\"bytes\":8}\n");
  }

  @Test
  void cpCarriesFoldersOutOfTheGuest() throws Exception {
    for (String[] entry :
        new String[][] {{"/d", "directory"}, {"/d/e", "directory"}, {"/d/f", "file"}}) {
      String path = entry[0].replace("/", "%2F");
      daemon.answers(
          "GET /v1/sandboxes/sb1/files/stat?path=" + path,
          200,
          "{\"path\":\"%s\",\"type\":\"%s\"}".formatted(entry[0], entry[1]));
    }
    daemon
        .answers(
            "GET /v1/sandboxes/sb1/files/list?path=%2Fd",
            200,
            "[{\"path\":\"/d/e\",\"type\":\"directory\"},{\"path\":\"/d/f\",\"type\":\"file\"}]")
        .answers("GET /v1/sandboxes/sb1/files/list?path=%2Fd%2Fe", 200, "[]")
        .answers("GET /v1/sandboxes/sb1/files?path=%2Fd%2Ff", 200, "content");
    Outcome outcome = daemon.run("cp", "sb1:/d", folder.toString());
    assertThat(outcome).isEqualTo(new Outcome(0, "", "✓ 1 file, 7 B\n"));
    assertThat(folder.resolve("d/e")).isEmptyDirectory();
    assertThat(folder.resolve("d/f")).hasContent("content");
    assertThat(folder.resolve("d").toFile().list()).containsExactlyInAnyOrder("e", "f");
  }

  /** Every series once per round, and whatever was made is removed again. */
  @Test
  void benchMeasuresAndLeavesNothing() {
    String pool = "{\"tag\":\"python\",\"size\":%d,\"prewarm\":true,\"ready\":9,\"starting\":0}";
    daemon
        .answers("POST /v1/sandboxes/sb1/eval", 200, "{\"result\":\"1\",\"exit_code\":0}")
        .answers(
            "POST /v1/sandboxes/sb1/exec", 200, "{\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":0}")
        .answers("DELETE /v1/snapshots/b1", 204, "")
        .answers("GET /v1/snapshots/python", 200, "{\"tag\":\"python\",\"template\":true}")
        .answers("GET /v1/snapshots/python/pool", 200, pool.formatted(2))
        .answers("PUT /v1/snapshots/python/pool", 200, pool.formatted(2));
    Outcome plain = daemon.run("bench", "-n", "2", "--tag", "python");
    assertThat(plain.status()).as(plain.err()).isZero();
    assertThat(plain.out().lines().map(line -> line.split("  ")[0]))
        .containsExactly(
            "WHAT",
            "fork to first eval",
            "second eval in the same child",
            "exec true",
            "branch diff, whole request",
            "branch diff, pause of the source",
            "branch diff, pause with 40 MiB diverged",
            "branch live, pause with 40 MiB diverged");
    assertThat(count("POST /v1/sandboxes ")).isEqualTo(2).isEqualTo(count("DELETE /v1/sandboxes"));
    assertThat(count("POST /v1/sandboxes/sb1/branch"))
        .isEqualTo(6)
        .isEqualTo(count("DELETE /v1/snapshots"));

    daemon.asked.clear();
    JsonNode answer = json(daemon.run("bench", "-n", "1", "--fan-out", "1", "--pool", "--json"));
    assertThat(answer.get("rounds").asInt()).isEqualTo(1);
    assertThat(answer.get("median_millis").propertyNames())
        .contains("exec true", "fork to first eval, from a prewarmed pool");
    assertThat(answer.get("median_millis").get("branch diff, pause of the source").asDouble())
        .isEqualTo(7);
    assertThat(answer.get("fan_out").get("answered").asInt()).isEqualTo(1);
    assertThat(answer.get("pooled_fan_out").get("children").asInt()).isEqualTo(1);
    assertThat(count("POST /v1/sandboxes ")).isEqualTo(count("DELETE /v1/sandboxes"));
    assertThat(daemon.asked.getLast()).as("the pool is as before").contains("\"size\":2");
  }

  private long count(String begin) {
    return daemon.asked.stream().filter(request -> request.startsWith(begin)).count();
  }

  /** A measurement that fails takes its sandbox along. */
  @Test
  void benchThatFailsLeavesNothing() {
    daemon
        .answers("POST /v1/sandboxes/sb1/eval", 200, "{\"result\":\"1\",\"exit_code\":0}")
        .answers("POST /v1/sandboxes/sb1/exec", 500, "{\"error\":\"broke\",\"code\":\"internal\"}");
    Outcome failed = daemon.run("bench", "-n", "1");
    assertThat(failed.status()).isEqualTo(1);
    assertThat(failed.err()).contains("broke");
    assertThat(daemon.asked.getLast()).as("even then").isEqualTo("DELETE /v1/sandboxes/sb1");
  }

  private static String base64(String text) {
    return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
  }
}
