package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * The published Python SDK, unmodified, drives the daemon. Where PyPI does not answer, a client of
 * our own sends the same requests, and the output says so.
 */
class PythonSdkTest {
  private static final String PACKAGE = "forkd==0.3.2";
  private static final Path FOLDER = Path.of("target", "system").toAbsolutePath();

  private record Outcome(int status, String output) {}

  @AfterEach
  void clean() {
    Lab.clean(Lab.engine());
  }

  /** Every method of the SDK's Controller gives what the reference daemon gives. */
  @Test
  @Timeout(value = 10, unit = TimeUnit.MINUTES)
  void controllerWorksUnmodified() throws Exception {
    Path venv = FOLDER.resolve("venv");
    boolean installed = installed(venv);
    copy("wire_client.py");
    Path script = copy("python_sdk.py");
    List<String> command =
        installed
            ? List.of(venv + "/bin/python", script.toString())
            : List.of("python3", script.toString(), "wire");
    Lab.engine();
    try (Daemon daemon = Daemon.start()) {
      Outcome outcome =
          run(command, Map.of("FORKD_URL", daemon.url(), "FORKD_TOKEN", Daemon.TOKEN));
      System.out.println(outcome.output());
      assertThat(outcome.status()).as(outcome.output()).isZero();
      assertThat(outcome.output())
          .contains((installed ? "forkd.controller" : "wire_client") + ": ")
          .endsWith("OK\n");
    }
  }

  /** Whether the SDK is there; only that the package index gives none is no failure of ours. */
  private static boolean installed(Path venv) throws IOException, InterruptedException {
    Path installed = venv.resolve("bin/forkd-installed");
    if (Files.exists(installed)) {
      return true;
    }
    Outcome made = run(List.of("python3", "-m", "venv", venv.toString()), Map.of());
    assertThat(made.status()).as(made.output()).isZero();
    Outcome pip =
        run(
            List.of(
                venv + "/bin/pip", "install", "-q", "--retries", "2", "--timeout", "20", PACKAGE),
            Map.of());
    if (pip.status() != 0) {
      System.err.println(
          "!!! The published SDK was NOT tested: pip could not install " + PACKAGE + ".");
      System.err.println("!!! A client of our own sends the same requests instead. pip said:");
      System.err.println(pip.output().strip().indent(4));
      return false;
    }
    Files.createFile(installed);
    return true;
  }

  private static Path copy(String resource) throws IOException {
    Path file = Files.createDirectories(FOLDER).resolve(resource);
    try (InputStream source = PythonSdkTest.class.getResourceAsStream("/" + resource)) {
      Files.write(file, source.readAllBytes());
    }
    return file;
  }

  private static Outcome run(List<String> command, Map<String, String> environment)
      throws IOException, InterruptedException {
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    Process process = builder.start();
    try {
      process.getOutputStream().close();
      String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertThat(process.waitFor(5, TimeUnit.MINUTES)).isTrue();
      return new Outcome(process.exitValue(), output);
    } finally {
      process.destroyForcibly();
    }
  }
}
