package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.api.KnownTemplate;
import dev.forkd.api.rest.Json;
import dev.forkd.engine.SandboxView;
import dev.forkd.engine.Snapshot;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * The command line as its users have it: a process of its own that finds a real daemon through the
 * data directory, and real VMs behind that.
 */
@Timeout(value = 10, unit = TimeUnit.MINUTES)
class CliSystemTest {
  private static final int LIMIT_MINUTES = 5;

  @AfterEach
  void clean() {
    Lab.clean(Lab.engine());
  }

  /** What a command line did. */
  private record Outcome(int status, String out, String err) {}

  /** What {@code quickstart --json} prints of each step. */
  record Step(String name, double millis, String memory) {}

  /**
   * The tour draws what it made and leaves nothing but the template. It takes a template that an
   * earlier forkd made to another recipe, makes one where none is, and what it made is what {@code
   * template build} and the next quickstart want.
   */
  @Test
  void quickstart() throws Exception {
    Lab.engine();
    try (Daemon _ = Daemon.start()) {
      Outcome old =
          forkd(
              "template",
              "build",
              "python",
              "--replace",
              "--packages",
              String.join(",", KnownTemplate.PYTHON.packages()),
              "--warm",
              "numpy.zeros(5).tolist()");
      assertThat(old.status()).as(old.err()).isZero();
      Outcome taken = forkd("quickstart", "-n", "3");
      assertTour(taken, 3);
      assertThat(taken.err()).contains("template 'python' is there already, made differently");

      assertThat(forkd("rmi", "python").status()).isZero();
      Outcome first = forkd("quickstart", "-n", "3");
      assertTour(first, 3);
      assertThat(first.err()).contains("template 'python' is ready");
      Outcome known = forkd("template", "build", "python");
      assertThat(known.status()).as(known.err()).isZero();
      assertThat(known.err()).contains("template 'python' is there already\n");
      Outcome second = forkd("quickstart");
      assertTour(second, 10);
      assertThat(second.err())
          .contains("template 'python' is there already\n")
          .doesNotContain("boot");
      Outcome forPrograms = forkd("quickstart", "-n", "2", "--json");
      assertThat(forPrograms.status()).as(forPrograms.err()).isZero();
      assertThat(Json.readList(forPrograms.out().getBytes(StandardCharsets.UTF_8), Step.class))
          .allMatch(step -> step.millis() >= 0)
          .extracting(Step::name)
          .contains("template python", "fork 2 children", "remove children and branch");
      assertThat(forkd("ls", "--json").out()).isEqualTo("[]\n");
    }
    assertThat(Lab.engine().snapshots()).extracting(Snapshot::tag).containsExactly(Lab.PYTHON);
    assertThat(Lab.engine().sandboxes()).extracting(SandboxView::id).isEmpty();
  }

  /** Commands and doctor find a daemon with a certificate of its own, and trust that one. */
  @Test
  void aDaemonWithTlsIsFoundAndTrusted() throws Exception {
    Lab.engine();
    try (Daemon daemon = Daemon.start("--tls")) {
      Outcome forked = forkd("fork", "python");
      assertThat(forked.status()).as(forked.err()).isZero();
      Outcome run = forkd("exec", forked.out().strip(), "echo", "over TLS");
      assertThat(run).isEqualTo(new Outcome(0, "over TLS\n", ""));
      Outcome doctor = forkd("doctor");
      assertThat(doctor.out()).contains("✓ daemon        " + daemon.url());
      Outcome stranger = forkd("ls", "--daemon-url", daemon.url());
      assertThat(stranger.status()).as(stranger.out()).isEqualTo(1);
      assertThat(stranger.err()).contains(daemon.url());
    }
  }

  /** What each child answered, the lineage, and a row for each step. */
  private static void assertTour(Outcome outcome, int children) {
    assertThat(outcome.status()).as(outcome.err()).isZero();
    List<String> lines = outcome.out().lines().toList();
    assertThat(lines.stream().filter(line -> line.contains("[0.0, 0.0, 0.0, 0.0, 0.0]")))
        .hasSize(children);
    assertThat(
            lines.stream()
                .filter(line -> line.endsWith("disk: written before the branch"))
                .toList())
        .hasSize(3)
        .allMatch(line -> line.contains("kept = (42, 499999500000)"));
    assertThat(lines).contains("▣ python  template");
    assertThat(lines.stream().filter(line -> line.matches("[│ ]*[├└]─ ● sb.*")))
        .hasSize(children + 3);
    assertThat(lines)
        .anyMatch(
            line -> line.matches(".*◆ quickstart-\\w+  snapshot, paused \\d+ ms, .* diverged"));
    assertThat(lines)
        .anyMatch(line -> line.matches("STEP +TIME +MEMORY"))
        .anyMatch(line -> line.matches("template python .*512 MiB guest, .* stored"))
        .anyMatch(line -> line.matches("fork " + children + " children .*"))
        .anyMatch(line -> line.matches("verify that no two are twins .*"))
        .anyMatch(line -> line.matches("branch it while it runs .*paused \\d+ ms.*"))
        .anyMatch(line -> line.matches("they diverge .*MiB of its own each.*"))
        .anyMatch(line -> line.matches("remove children and branch .*"));
  }

  /** Runs the program on the data directory of the {@link Lab}, whose daemon must run. */
  private static Outcome forkd(String... words) throws Exception {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:TieredStopAtLevel=1",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                "dev.forkd.cli.Main"));
    command.addAll(List.of(words));
    Path out = Files.createTempFile("forkd-cli", ".out");
    Path err = Files.createTempFile("forkd-cli", ".err");
    try {
      ProcessBuilder builder =
          new ProcessBuilder(command).redirectOutput(out.toFile()).redirectError(err.toFile());
      builder.environment().keySet().removeIf(name -> name.startsWith("FORKD_"));
      builder.environment().put("FORKD_DATA_DIR", Lab.DATA_DIR.toString());
      Process process = builder.start();
      process.getOutputStream().close();
      if (!process.waitFor(LIMIT_MINUTES, TimeUnit.MINUTES)) {
        process.destroyForcibly().waitFor();
        throw new AssertionError(List.of(words) + " does not end: " + Files.readString(err));
      }
      return new Outcome(
          process.exitValue(),
          Files.readString(out, StandardCharsets.UTF_8),
          Files.readString(err, StandardCharsets.UTF_8));
    } finally {
      Files.delete(out);
      Files.delete(err);
    }
  }
}
