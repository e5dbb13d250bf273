package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Shows what {@code ./forkd} does before Java starts: which JDK it takes, when it builds, what it
 * runs. The checkout, the build tool and the JDK are stand-ins made of shell lines.
 */
class LauncherTest {
  private static final int LIMIT_SECONDS = 60;

  @TempDir Path folder;
  private Path checkout;

  record Outcome(int status, String output) {}

  @BeforeEach
  void makeCheckout() throws IOException {
    checkout = Files.createDirectories(folder.resolve("checkout"));
    Files.copy(Path.of("..", "forkd"), checkout.resolve("forkd"));
    Files.writeString(checkout.resolve("pom.xml"), "<project/>");
    Files.createDirectories(checkout.resolve("cli/src/main/java"));
    Files.writeString(checkout.resolve("cli/src/main/java/A.java"), "");
    script(
        checkout.resolve("mvnw"),
        """
        echo build >>"$(dirname "$0")/builds"
        [ ! -e "$(dirname "$0")/broken" ] || { echo "A.java:1 is wrong"; exit 1; }
        for argument; do case $argument in -Dlaunch.directory=*) out=${argument#*=} ;; esac; done
        for module in cli controller; do
          mkdir -p "$out/forkd-$module" "$(dirname "$0")/$module/target"
          touch "$out/forkd-$module/dependency.jar" "$(dirname "$0")/$module/target/forkd-$module-1.0.jar"
        done
        sleep 0.3
        """);
    jdk(folder.resolve("jvm/jdk-25"), "25.0.1");
  }

  @Test
  void withoutAJdkItSaysHowToGetOne() throws Exception {
    jdk(folder.resolve("old/jdk-17"), "17.0.9");
    Outcome outcome =
        launch(Map.of("FORKD_JVM_DIR", folder.resolve("old").toString()), "--version");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.output()).contains("JDK 25").contains("temurin-25-jdk");
    assertThat(checkout.resolve("builds")).doesNotExist();
  }

  @Test
  void theNamedJdkComesFirst() throws Exception {
    Path named = folder.resolve("named");
    jdk(named, "25.0.2");
    Outcome outcome = launch(Map.of("FORKD_JAVA_HOME", named.toString()), "--jdk");
    assertThat(outcome.output()).endsWith("\n" + named + "\n");
  }

  @Test
  void itBuildsOnceAndAgainAfterAChange() throws Exception {
    assertThat(launch(Map.of(), "ls", "--json").output())
        .contains("forkd: building")
        .contains("dev.forkd.cli.Main ls --json")
        .contains("-Dforkd.home=" + checkout);
    assertThat(launch(Map.of(), "ls").output()).doesNotContain("building");
    Files.delete(checkout.resolve("cli/src/main/java/A.java"));
    assertThat(launch(Map.of(), "ls").output()).contains("building");
    assertThat(Files.readAllLines(checkout.resolve("builds"))).hasSize(2);
  }

  @Test
  void serveRunsTheDaemonInPlaceOfTheShell() throws Exception {
    Outcome outcome = launch(Map.of("FORKD_JAVA_OPTS", "-Da=1 -Db=2"), "serve", "--bind", "x y");
    assertThat(outcome.output()).contains("-Da=1 -Db=2 dev.forkd.controller.Main serve --bind x y");
    long shell = Long.parseLong(line(outcome.output(), "shell="));
    assertThat(line(outcome.output(), "java=")).isEqualTo(Long.toString(shell));
  }

  @Test
  void aFailedBuildShowsWhyAndIsTriedAgain() throws Exception {
    Files.createFile(checkout.resolve("broken"));
    Outcome failed = launch(Map.of(), "ls");
    assertThat(failed.status()).isEqualTo(1);
    assertThat(failed.output()).contains("A.java:1 is wrong").contains("build.log");
    Files.delete(checkout.resolve("broken"));
    assertThat(launch(Map.of(), "ls").status()).isZero();
  }

  @Test
  void twoLaunchesAtOnceBuildOnce() throws Exception {
    Process first = start(Map.of(), "ls");
    Process second = start(Map.of(), "ls");
    assertThat(finish(first).status()).isZero();
    assertThat(finish(second).status()).isZero();
    assertThat(Files.readAllLines(checkout.resolve("builds"))).hasSize(1);
  }

  @Test
  void itWorksThroughALinkAndFromElsewhere() throws Exception {
    Path link = Files.createSymbolicLink(folder.resolve("link"), checkout.resolve("forkd"));
    Process process = builder(link, Map.of(), "ls").directory(folder.toFile()).start();
    assertThat(finish(process).output()).contains("-Dforkd.home=" + checkout);
    Files.delete(link);
  }

  private Outcome launch(Map<String, String> environment, String... arguments) throws Exception {
    return finish(start(environment, arguments));
  }

  private Process start(Map<String, String> environment, String... arguments) throws IOException {
    return builder(checkout.resolve("forkd"), environment, arguments).start();
  }

  private ProcessBuilder builder(Path program, Map<String, String> environment, String... words) {
    List<String> command =
        new ArrayList<>(List.of("bash", "-c", "echo shell=$$; exec \"$@\"", "-"));
    command.add(program.toString());
    command.addAll(List.of(words));
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder
        .environment()
        .keySet()
        .removeIf(key -> key.startsWith("FORKD_") || key.equals("JAVA_HOME"));
    // A PATH without java: only what the environment names counts.
    builder.environment().put("PATH", "/usr/sbin:/sbin:" + noJava());
    builder.environment().put("FORKD_JVM_DIR", folder.resolve("jvm").toString());
    builder.environment().putAll(environment);
    return builder;
  }

  /** A folder with the tools the launcher uses, but no java. */
  private String noJava() {
    Path tools = folder.resolve("tools");
    if (!Files.isDirectory(tools)) {
      try {
        Files.createDirectories(tools);
        for (String tool :
            "bash readlink dirname basename grep find flock mktemp ln mv cp rm mkdir sort paste tail cut xargs cat sleep touch"
                .split(" ")) {
          Path real = Path.of(Files.exists(Path.of("/usr/bin", tool)) ? "/usr/bin" : "/bin", tool);
          Files.writeString(tools.resolve(tool), "#!/bin/bash\nexec " + real + " \"$@\"\n");
          assertThat(tools.resolve(tool).toFile().setExecutable(true)).isTrue();
        }
      } catch (IOException e) {
        throw new java.io.UncheckedIOException(e);
      }
    }
    return tools.toString();
  }

  private static Outcome finish(Process process) throws Exception {
    process.getOutputStream().close();
    String output =
        new String(
            process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
    assertThat(process.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS)).isTrue();
    return new Outcome(process.exitValue(), output);
  }

  private static String line(String output, String prefix) {
    return output
        .lines()
        .filter(line -> line.startsWith(prefix))
        .map(line -> line.substring(prefix.length()))
        .findFirst()
        .orElseThrow();
  }

  private static void jdk(Path home, String version) throws IOException {
    Files.createDirectories(home.resolve("bin"));
    Files.writeString(home.resolve("release"), "JAVA_VERSION=\"" + version + "\"\n");
    script(home.resolve("bin/java"), "echo java=$$\necho \"$@\"\n");
    script(home.resolve("bin/javac"), "exit 1\n");
  }

  private static void script(Path file, String text) throws IOException {
    Files.writeString(file, "#!/usr/bin/env bash\n" + text);
    assertThat(file.toFile().setExecutable(true)).isTrue();
  }
}
