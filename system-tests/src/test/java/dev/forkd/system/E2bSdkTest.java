package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.forkd.api.ApiKey;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.KnownTemplate;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.hosted.CodeContext;
import dev.forkd.sdk.hosted.CodeRun;
import dev.forkd.sdk.hosted.HostOptions;
import dev.forkd.sdk.hosted.HostedCode;
import dev.forkd.sdk.hosted.HostedSandbox;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * E2B's published SDKs, unmodified, drive the daemon in real VMs: the programs are in {@code
 * src/test/resources/e2b}. What they leave behind is counted.
 */
@Timeout(value = 12, unit = TimeUnit.MINUTES)
class E2bSdkTest {
  private static final System.Logger LOG = System.getLogger(E2bSdkTest.class.getName());

  /** In the words of npm and pip. */
  private static final Pattern UNREACHABLE =
      Pattern.compile(
          "ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH"
              + "|NewConnectionError|ConnectTimeoutError|ProxyError|Max retries exceeded");

  private static final Path WORK = Path.of("target", "system", "e2b").toAbsolutePath();
  private static final Path PROGRAMS = Path.of("src", "test", "resources", "e2b").toAbsolutePath();

  /** Held against what the SDKs have. */
  private static final Path DOCS = Path.of("..", "docs", "E2B.md").toAbsolutePath();

  private static final Duration PATIENCE = Duration.ofMinutes(8);

  /** Of the SDK: it refuses older ones. */
  private static final int NODE_MIN = 20;

  /** Sockets and pipes that the daemon may still be closing, or keeps for what comes next. */
  private static final int DESCRIPTORS_SPARE = 24;

  @AfterEach
  void clean() {
    Lab.clean(Lab.engine(), Set.of(KnownTemplate.BASE, KnownTemplate.CODE_INTERPRETER));
  }

  @AfterAll
  static void forget() {
    Lab.clean(Lab.engine());
  }

  /** Every public method of the JavaScript SDK that works without a network. */
  @Test
  void javaScript() throws Exception {
    Path folder = javaScriptFolder();
    String node = node(folder);
    List<String> command = new ArrayList<>(List.of(node, "--test", "--test-reporter=spec"));
    command.addAll(programs(folder, ".test.mjs", "interpreter"));
    withDaemon(KnownTemplate.BASE, environment -> run(folder, environment, command));
  }

  private static Path javaScriptFolder() throws IOException, InterruptedException {
    Path folder = WORK.resolve("js");
    copy(PROGRAMS.resolve("js"), folder);
    Files.copy(DOCS, folder.resolve("E2B.md"), StandardCopyOption.REPLACE_EXISTING);
    install(folder, List.of("npm", "install", "--no-audit", "--no-fund", "--loglevel=error"));
    return folder;
  }

  private static Path pythonFolder() throws IOException, InterruptedException {
    Path folder = WORK.resolve("python");
    copy(PROGRAMS.resolve("python"), folder);
    Files.copy(DOCS, folder.resolve("E2B.md"), StandardCopyOption.REPLACE_EXISTING);
    Path venv = folder.resolve("venv");
    if (!Files.exists(venv)) {
      run(folder, Map.of(), List.of("python3", "-m", "venv", venv.toString()));
    }
    install(folder, List.of(venv + "/bin/pip", "install", "-q", "-r", "requirements.txt"));
    return folder;
  }

  /** The same with the Python SDK, blocking and asynchronous. */
  @Test
  void python() throws Exception {
    Path folder = pythonFolder();
    List<String> command =
        new ArrayList<>(List.of(folder + "/venv/bin/python", "-m", "unittest", "-v"));
    command.addAll(
        programs(folder, ".py", "interpreter").stream()
            .filter(name -> name.startsWith("test_"))
            .toList());
    withDaemon(KnownTemplate.BASE, environment -> run(folder, environment, command));
  }

  /** Over TLS, with a certificate made at the first start, by host names alone. */
  @Test
  void wildcardTls() throws Exception {
    Path folder = javaScriptFolder();
    Path python = pythonFolder();
    Lab.bake(KnownTemplate.BASE);
    try (Daemon daemon = Daemon.start("--tls")) {
      run(
          folder,
          Map.of(
              "E2B_DOMAIN",
              Daemon.DOMAIN + ":" + daemon.port(),
              "E2B_API_KEY",
              ApiKey.of(Daemon.TOKEN),
              "NODE_EXTRA_CA_CERTS",
              Daemon.CERTIFICATE.toString()),
          List.of(
              node(folder),
              "--import",
              folder.resolve("resolve.mjs").toString(),
              "--test",
              "--test-reporter=spec",
              "tls.mjs"));
      // Its resolver is not ours to change: all by one address.
      run(
          python,
          Map.of(
              "E2B_API_URL",
              daemon.url(),
              "E2B_SANDBOX_URL",
              daemon.url(),
              "E2B_API_KEY",
              ApiKey.of(Daemon.TOKEN),
              "SSL_CERT_FILE",
              Daemon.CERTIFICATE.toString()),
          List.of(python + "/venv/bin/python", "-m", "unittest", "-v", "tls"));
    }
  }

  /** Code in warm kernels, with both SDKs; its template takes minutes to make. */
  @Test
  void codeInterpreter() throws Exception {
    Path javaScript = javaScriptFolder();
    Path python = pythonFolder();
    withDaemon(
        KnownTemplate.CODE_INTERPRETER,
        environment -> {
          run(
              javaScript,
              environment,
              List.of(
                  node(javaScript),
                  "--test",
                  "--test-force-exit",
                  "--test-reporter=spec",
                  "interpreter.test.mjs"));
          run(
              python,
              environment,
              List.of(python + "/venv/bin/python", "-m", "unittest", "-v", "test_interpreter.py"));
        });
  }

  /** The same with the Java SDK: languages, environments, contexts, a time limit. */
  @Test
  void codeInterpreterFromJava() throws Exception {
    Lab.bake(KnownTemplate.CODE_INTERPRETER);
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client();
        HostedSandbox sandbox =
            HostedSandbox.create(
                forkd,
                KnownTemplate.CODE_INTERPRETER.tag().value(),
                HostOptions.DEFAULT.env("FROM", "the sandbox"))) {
      HostedCode code = sandbox.code();
      HostedCode.Options python = HostedCode.Options.DEFAULT;
      List<String> heard = new ArrayList<>();
      CodeRun run =
          code.run(
              "import os\nprint('out')\nos.environ['FROM'] + os.environ['MINE']",
              python.env("MINE", ", the run"),
              output -> heard.add(output.text()));
      assertThat(run.text()).contains("the sandbox, the run");
      assertThat(String.join("", heard)).isEqualTo("out\n");
      assertThat(code.run("6 * 7", python.language("java")).text()).contains("42");
      CodeContext context = code.createContext("python", "/tmp");
      assertThat(
              code.run("x = 1\nos = __import__('os')\nos.getcwd()", python.context(context)).text())
          .contains("/tmp");
      assertThat(code.contexts()).contains(context);
      code.restart(context);
      assertThat(code.run("x", python.context(context)).error())
          .hasValueSatisfying(raised -> assertThat(raised.name()).isEqualTo("NameError"));
      assertThatThrownBy(() ->
              code.run(
                  "while True: print('x')", python.context(context).timeout(Duration.ofSeconds(2))))
          .isInstanceOfSatisfying(
              ForkdApiException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.DEADLINE_EXCEEDED));
      assertThat(code.run("'free'", python.context(context)).text()).contains("free");
      code.remove(context);
      assertThatThrownBy(() -> code.run("1", python.context(context)))
          .isInstanceOfSatisfying(
              ForkdApiException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND));
    }
  }

  private interface Program {
    void run(Map<String, String> environment) throws IOException, InterruptedException;
  }

  private static void withDaemon(KnownTemplate template, Program program) throws Exception {
    Lab.bake(template);
    try (Daemon daemon = Daemon.start()) {
      int before = descriptors(daemon);
      program.run(
          Map.of(
              "E2B_API_URL", daemon.url(),
              "E2B_SANDBOX_URL", daemon.url(),
              "E2B_API_KEY", ApiKey.of(Daemon.TOKEN)));
      await()
          .atMost(Duration.ofSeconds(90))
          .untilAsserted(() -> assertThat(Lab.vmms()).as("VMs that are left").isEmpty());
      await()
          .atMost(Duration.ofSeconds(90))
          .untilAsserted(() ->
              assertThat(descriptors(daemon))
                  .as("descriptors of the daemon")
                  .isLessThan(before + DESCRIPTORS_SPARE));
    }
  }

  private static int descriptors(Daemon daemon) throws IOException {
    try (Stream<Path> open = Files.list(Path.of("/proc/" + daemon.pid() + "/fd"))) {
      return (int) open.count();
    }
  }

  private static void copy(Path from, Path to) throws IOException {
    Files.createDirectories(to);
    try (Stream<Path> files = Files.list(from)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        Files.copy(
            file,
            to.resolve(file.getFileName()),
            java.nio.file.StandardCopyOption.REPLACE_EXISTING);
      }
    }
  }

  private static List<String> programs(Path folder, String end, String but) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files
          .map(file -> String.valueOf(file.getFileName()))
          .filter(name -> name.endsWith(end) && !name.contains(but))
          .sorted()
          .toList();
    }
  }

  /** The host's Node, or, where that is too old for the SDK, one from the package registry. */
  private static String node(Path folder) throws IOException, InterruptedException {
    String version = run(folder, Map.of(), List.of("node", "--version"));
    if (Integer.parseInt(version.substring(1, version.indexOf('.'))) >= NODE_MIN) {
      return "node";
    }
    install(folder, List.of("npm", "install", "--no-save", "--loglevel=error", "node@22"));
    return folder.resolve("node_modules/node/bin/node").toString();
  }

  /**
   * Gets what a package registry has. Where none answers, nothing of this class can be tested, and
   * that is said aloud; whatever else goes wrong is a failure.
   */
  private static void install(Path folder, List<String> command)
      throws IOException, InterruptedException {
    Outcome outcome = outcome(folder, Map.of(), command);
    if (outcome.status() != 0 && UNREACHABLE.matcher(outcome.text()).find()) {
      String why = "E2B'S SDKS ARE NOT TESTED: no package registry answers " + command;
      LOG.log(System.Logger.Level.ERROR, "{0}: {1}", why, outcome.text());
      abort(why);
    }
    assertThat(outcome.status()).as("%s: %s", command, outcome.text()).isZero();
  }

  private record Outcome(int status, String text) {}

  private static String run(Path folder, Map<String, String> environment, List<String> command)
      throws IOException, InterruptedException {
    Outcome outcome = outcome(folder, environment, command);
    assertThat(outcome.status()).as("%s: %s", command, outcome.text()).isZero();
    return outcome.text();
  }

  private static Outcome outcome(Path folder, Map<String, String> environment, List<String> command)
      throws IOException, InterruptedException {
    Path output = Files.createTempFile(folder, "output", ".txt");
    ProcessBuilder builder =
        new ProcessBuilder(command)
            .directory(folder.toFile())
            .redirectErrorStream(true)
            .redirectInput(ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile()))
            .redirectOutput(output.toFile());
    builder.environment().putAll(new HashMap<>(environment));
    Process process = builder.start();
    boolean ended = process.waitFor(PATIENCE.toSeconds(), TimeUnit.SECONDS);
    if (!ended) {
      process.destroyForcibly();
    }
    String text = Files.readString(output, StandardCharsets.UTF_8);
    Files.delete(output);
    assertThat(ended).as("%s hangs: %s", command, text).isTrue();
    return new Outcome(process.exitValue(), text);
  }
}
