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

/** The published Python SDK, unmodified, drives the daemon. */
class PythonSdkTest {
  private static final String PACKAGE = "forkd==0.3.2";

  @AfterEach
  void clean() {
    Lab.clean(Lab.engine());
  }

  /** Every method of the SDK's Controller gives what the reference daemon gives. */
  @Test
  void controllerWorksUnmodified() throws Exception {
    Path venv = Path.of("target", "system", "venv").toAbsolutePath();
    if (!Files.exists(venv.resolve("bin/forkd-installed"))) {
      run(List.of("python3", "-m", "venv", venv.toString()), Map.of());
      run(List.of(venv + "/bin/pip", "install", "-q", PACKAGE), Map.of());
      Files.createFile(venv.resolve("bin/forkd-installed"));
    }
    Path script = Path.of("target", "system", "python_sdk.py").toAbsolutePath();
    try (InputStream source = PythonSdkTest.class.getResourceAsStream("/python_sdk.py")) {
      Files.write(script, source.readAllBytes());
    }
    Lab.engine();
    try (Daemon daemon = Daemon.start()) {
      String output =
          run(
              List.of(venv + "/bin/python", script.toString()),
              Map.of("FORKD_URL", daemon.url(), "FORKD_TOKEN", Daemon.TOKEN));
      System.out.println(output);
      assertThat(output).endsWith("OK\n");
    }
  }

  private static String run(List<String> command, Map<String, String> environment)
      throws IOException, InterruptedException {
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    Process process = builder.start();
    process.getOutputStream().close();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(5, TimeUnit.MINUTES)).isTrue();
    assertThat(process.exitValue()).as("%s: %s", command, output).isZero();
    return output;
  }
}
