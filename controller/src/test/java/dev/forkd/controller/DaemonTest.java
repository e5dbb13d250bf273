package dev.forkd.controller;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.http.ServerConfig;
import dev.forkd.http.TestDaemon;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.state.DataDir;
import dev.forkd.testkit.FakeEngine;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.slf4j.LoggerFactory;
import picocli.CommandLine;

/** The daemon's life: it starts, is found, gives way, and leaves nothing behind. */
class DaemonTest {
  @TempDir Path folder;
  private final List<Process> processes = new ArrayList<>();

  @AfterEach
  void endProcesses() throws InterruptedException, IOException {
    for (Process process : processes) {
      process.destroyForcibly().waitFor();
    }
    // The folder for sockets is outside the data directory and would outlive it.
    Path runtime = dataDir().resolve("run");
    if (Files.isSymbolicLink(runtime)) {
      DataDir.deleteTree(Files.readSymbolicLink(runtime));
    }
  }

  private Path dataDir() {
    return folder.resolve("data");
  }

  private DaemonConfig config(Optional<Duration> idleExit) {
    return new DaemonConfig(
        new InetSocketAddress(InetAddress.getLoopbackAddress(), 0),
        dataDir(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        4,
        false,
        idleExit,
        false,
        64,
        Optional.empty());
  }

  private Daemon start(EngineOpener opener) {
    return Daemon.start(config(Optional.empty()), opener, InstantSource.system(), System::nanoTime);
  }

  private Optional<DaemonFile> daemonFile() {
    return DaemonFile.ofLiveDaemon(dataDir().resolve("daemon.json"));
  }

  private static String mode(Path path) throws IOException {
    return PosixFilePermissions.toString(Files.getPosixFilePermissions(path));
  }

  @Test
  void aDaemonIsFoundThroughItsFileAndLeavesNoneBehind() throws Exception {
    FakeEngine engine = new FakeEngine().withTemplate("python");
    try (Daemon daemon = start(_ -> engine)) {
      DaemonFile file = daemonFile().orElseThrow();
      assertThat(file.url()).isEqualTo(daemon.url());
      assertThat(file.process().isAlive()).isTrue();
      assertThat(file.background()).isFalse();
      assertThat(file.certificateSha256()).isEmpty();
      assertThat(mode(dataDir().resolve("daemon.json"))).isEqualTo("rw-------");
      assertThat(mode(dataDir().resolve("token"))).isEqualTo("rw-------");
      assertThat(Files.readString(dataDir().resolve("daemon.json")))
          .contains("\"startTicks\":", "\"tokenFile\":", "\"background\":false", "\"version\":");
      try (Forkd forkd = Forkd.connect(file.url(), Files.readString(Path.of(file.tokenFile())))) {
        assertThat(forkd.snapshots()).hasSize(1);
      }
    }
    assertThat(engine.isClosed()).isTrue();
    assertThat(dataDir().resolve("daemon.json")).doesNotExist();
    String token = Files.readString(dataDir().resolve("token"));
    start(_ -> new FakeEngine()).close();
    assertThat(dataDir().resolve("token")).hasContent(token.strip());
  }

  /** Commands on this host need no authority: the file says which certificate the daemon shows. */
  @Test
  void aDaemonWithTlsSaysHowItIsTrusted() throws Exception {
    DaemonConfig plain = config(Optional.empty());
    DaemonConfig secure =
        new DaemonConfig(
            plain.bind(),
            plain.dataDir(),
            plain.tokenFile(),
            Optional.of(TlsMaker.in(folder.resolve("tls"), "forkd.example")),
            plain.auditLog(),
            4,
            false,
            Optional.empty(),
            false,
            64,
            Optional.empty());
    try (Daemon _ =
        Daemon.start(
            secure,
            _ -> new FakeEngine().withTemplate("python"),
            InstantSource.system(),
            System::nanoTime)) {
      DaemonFile file = daemonFile().orElseThrow();
      assertThat(file.url()).startsWith("https://127.0.0.1:");
      String token = Files.readString(Path.of(file.tokenFile()));
      try (Forkd forkd =
              Forkd.builder()
                  .url(file.url())
                  .token(token)
                  .certificate(file.certificateSha256().orElseThrow())
                  .build();
          Forkd stranger = Forkd.connect(file.url(), token)) {
        assertThat(forkd.snapshots()).hasSize(1);
        assertThatThrownBy(stranger::snapshots).isInstanceOf(ForkdApiException.class);
      }
    }
    assertThat(dataDir().resolve("daemon.json")).doesNotExist();
  }

  @Test
  void aClientCanAskItToStop() throws Exception {
    FakeEngine engine = new FakeEngine();
    try (Daemon daemon = start(_ -> engine)) {
      try (Forkd forkd =
          Forkd.connect(daemon.url(), Files.readString(dataDir().resolve("token")))) {
        forkd.shutdown();
      }
      daemon.awaitStopRequest();
      assertThat(engine.isClosed()).isFalse();
    }
    assertThat(engine.isClosed()).isTrue();
  }

  /**
   * On a clock of the test's: not while a request runs, however long, and so long after its end.
   */
  @Test
  void anIdleDaemonEndsAndABusyOneDoesNot() throws Exception {
    FakeEngine engine = new FakeEngine().withTemplate("python");
    Duration limit = Duration.ofMinutes(1);
    AtomicLong nowNanos = new AtomicLong();
    CompletableFuture<Boolean> stop = new CompletableFuture<>();
    try (Daemon daemon =
        Daemon.start(
            config(Optional.of(limit)), _ -> engine, InstantSource.system(), nowNanos::get)) {
      Threads.virtual("stop", () -> stop.complete(isAskedToStop(daemon)));
      try (Forkd forkd =
          Forkd.connect(daemon.url(), Files.readString(dataDir().resolve("token")))) {
        var sandbox = forkd.fork("python");
        var exec = CompletableFuture.supplyAsync(() -> sandbox.exec("sleep", "600"));
        await().atMost(TestDaemon.PATIENCE).until(() -> engine.liveProcesses() == 1);
        nowNanos.addAndGet(limit.multipliedBy(10).toNanos());
        Thread.sleep(1500);
        assertThat(stop).as("it is busy").isNotDone();
        sandbox.kill();
        assertThatThrownBy(() -> exec.get(60, TimeUnit.SECONDS))
            .hasCauseInstanceOf(ForkdApiException.class);
        assertThat(forkd.snapshots()).as("it serves on").hasSize(1);
      }
      nowNanos.addAndGet(limit.minusSeconds(1).toNanos());
      Thread.sleep(1500);
      assertThat(stop).as("it has not been idle for long enough").isNotDone();
      nowNanos.addAndGet(limit.toNanos());
      assertThat(stop.get(60, TimeUnit.SECONDS)).isTrue();
    }
    assertThat(engine.isClosed()).isTrue();
  }

  private static boolean isAskedToStop(Daemon daemon) {
    try {
      daemon.awaitStopRequest();
      return true;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  @Test
  void whatFailsAtTheStartClosesWhatWasOpen() throws Exception {
    FakeEngine engine = new FakeEngine();
    try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      DaemonConfig base = config(Optional.empty());
      DaemonConfig config =
          new DaemonConfig(
              new InetSocketAddress(InetAddress.getLoopbackAddress(), taken.getLocalPort()),
              base.dataDir(),
              base.tokenFile(),
              base.tls(),
              base.auditLog(),
              4,
              false,
              Optional.empty(),
              false,
              64,
              Optional.empty());
      assertThatThrownBy(
              () -> Daemon.start(config, _ -> engine, InstantSource.system(), System::nanoTime))
          .isInstanceOf(ForkdException.class)
          .hasMessageContaining("cannot listen on")
          .hasMessageContaining("in use")
          .hasMessageContaining("--bind");
    }
    assertThat(engine.isClosed()).isTrue();
    assertThat(dataDir().resolve("daemon.json")).doesNotExist();
  }

  @Test
  void whatTheEngineSaysAtTheStartIsPassedOn() {
    assertThatThrownBy(() ->
            start(_ -> {
              throw new ForkdException(
                  ErrorCode.FAILED_PRECONDITION, "qemu-system-x86_64 is not installed");
            }))
        .hasMessage("qemu-system-x86_64 is not installed");
  }

  @ParameterizedTest
  @CsvSource({
    "'',is empty",
    "REPLACE_ME_with_a_secret,placeholder",
    "CHANGE_ME_with_a_secret,placeholder",
    "fifteen-chars-x,fewer than 16",
    "with a space in the middle,no HTTP header"
  })
  void aTokenThatIsNoSecretIsRefused(String token, String reason) throws Exception {
    Path file = Files.writeString(folder.resolve("token"), token + "\n");
    assertThatThrownBy(() -> TokenFile.read(file))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining(reason)
        .hasMessageContaining("openssl rand");
  }

  @Test
  void aNamedTokenFileMustExist() {
    assertThat(run("--token-file", folder.resolve("none").toString())).isEqualTo(1);
  }

  @ParameterizedTest
  @ValueSource(strings = {"127.0.0.1", "8889", ":8889", "::1:8889", "host:port", "h:-1", "h:65536"})
  void anAddressThatIsNoneIsRefused(String text) {
    assertThatThrownBy(() -> BindAddress.parse(text)).isInstanceOf(ForkdException.class);
  }

  @Test
  void addressesOfBothKindsAreRead() {
    assertThat(BindAddress.parse("127.0.0.1:8889").toString()).endsWith("/127.0.0.1:8889");
    assertThat(BindAddress.parse("[::1]:0").toString()).endsWith("/[0:0:0:0:0:0:0:1]:0");
  }

  private int run(String... args) {
    List<String> all = new ArrayList<>(List.of(args));
    all.addAll(List.of("--data-dir", dataDir().toString()));
    return ServeCommand.run(
        _ -> {
          throw new ForkdException(ErrorCode.INTERNAL, "must not come so far");
        },
        Map.of(),
        all.toArray(String[]::new));
  }

  @Test
  void wrongUsageIsTold() {
    assertThat(run("--tls-cert", "/x")).isEqualTo(1);
    assertThat(run("--branch-concurrency", "0")).isEqualTo(1);
    assertThat(run("--idle-exit-secs", "0")).isEqualTo(1);
    assertThat(run("--bind", "nowhere")).isEqualTo(1);
    assertThat(run("--no-such-flag")).isEqualTo(2);
    assertThat(run("--help")).isZero();
  }

  /** The environment stands in for flags; in the background any port will do. */
  @Test
  void defaultsAreWhatTheReferenceSays() {
    ServeCommand plain =
        new ServeCommand(FakeDaemonMain::open, Map.of("FORKD_DATA_DIR", dataDir().toString()));
    assertThat(plain.config())
        .isEqualTo(
            new DaemonConfig(
                BindAddress.parse("127.0.0.1:8889"),
                dataDir(),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                4,
                false,
                Optional.empty(),
                false,
                2048,
                Optional.empty()));
    ServeCommand told =
        new ServeCommand(
            FakeDaemonMain::open,
            Map.of(
                "FORKD_BIND", "[::1]:1",
                "FORKD_DATA_DIR", "/d",
                "FORKD_TOKEN_FILE", "/t",
                "FORKD_AUDIT_LOG", "/a",
                "FORKD_BRANCH_CONCURRENCY", "7"));
    assertThat(told.config().bind()).isEqualTo(BindAddress.parse("[::1]:1"));
    assertThat(told.config().tokenFile()).contains(Path.of("/t"));
    assertThat(told.config().auditLog()).contains(Path.of("/a"));
    assertThat(told.config().branchConcurrency()).isEqualTo(7);
  }

  /** A flag wins over its variable, and a variable that is blank counts as not set. */
  @Test
  void everySettingHasItsVariable() {
    Map<String, String> environment =
        Map.of(
            "FORKD_DATA_DIR", "/d",
            "FORKD_TLS_CERT", "/cert.pem",
            "FORKD_TLS_KEY", "/key.pem",
            "FORKD_QUEUE", "17",
            "FORKD_DOMAIN", "forkd.example:8443",
            "FORKD_BIND", " ");
    DaemonConfig told = parsed(environment).config();
    assertThat(told.tls())
        .contains(new ServerConfig.TlsFiles(Path.of("/cert.pem"), Path.of("/key.pem")));
    assertThat(told.queueMax()).isEqualTo(17);
    assertThat(told.domain()).contains("forkd.example:8443");
    assertThat(told.bind()).isEqualTo(BindAddress.parse("127.0.0.1:8889"));
    DaemonConfig flagged =
        parsed(environment, "--queue", "18", "--domain", "other.example", "--data-dir", "/e")
            .config();
    assertThat(flagged.queueMax()).isEqualTo(18);
    assertThat(flagged.domain()).contains("other.example");
    assertThat(flagged.dataDir()).isEqualTo(Path.of("/e"));
    assertThat(parsed(Map.of(), "--background").config().bind())
        .isEqualTo(BindAddress.parse("127.0.0.1:0"));
    for (Map<String, String> wrong :
        List.of(
            Map.of("FORKD_QUEUE", "many"),
            Map.of("FORKD_BRANCH_CONCURRENCY", "0"),
            Map.of("FORKD_DOMAIN", "no domain"),
            Map.of("FORKD_TLS_KEY", "/key.pem"))) {
      assertThatThrownBy(() -> parsed(wrong).config())
          .as("%s", wrong)
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT));
    }
  }

  /** Help names every variable that is read, those without a flag as well. */
  @Test
  void helpNamesTheVariables() {
    assertThat(new CommandLine(parsed(Map.of())).getUsageMessage())
        .contains("FORKD_BIND", "FORKD_DATA_DIR", "FORKD_TOKEN_FILE", "FORKD_AUDIT_LOG")
        .contains("FORKD_TLS_CERT", "FORKD_TLS_KEY", "FORKD_QUEUE", "FORKD_DOMAIN")
        .contains("FORKD_BRANCH_CONCURRENCY", "FORKD_LOG", "FORKD_QEMU")
        .doesNotContain("--state", "--snapshot-root", "--prewarm-scratch-dir");
  }

  /** Flags and variables of other forkd daemons are taken, all at once, and said to do nothing. */
  @Test
  void whatHasNoEffectIsSaid() {
    String[] flags = {"--state", "/s", "--snapshot-root", "/r", "--prewarm-scratch-dir", "/p"};
    assertThat(warnings(() -> parsed(Map.of(), flags).config()))
        .hasSize(3)
        .allMatch(line -> line.contains("has no effect") && line.contains("--data-dir"))
        .anyMatch(line -> line.startsWith("--state "))
        .anyMatch(line -> line.startsWith("--snapshot-root "))
        .anyMatch(line -> line.startsWith("--prewarm-scratch-dir "));
    Map<String, String> environment =
        Map.of("FORKD_STATE", "/s", "FORKD_SNAPSHOT_ROOT", "/r", "FORKD_PREWARM_SCRATCH_DIR", "/p");
    assertThat(warnings(() -> parsed(environment).config()))
        .hasSize(3)
        .anyMatch(line -> line.startsWith("FORKD_STATE "))
        .anyMatch(line -> line.startsWith("FORKD_SNAPSHOT_ROOT "))
        .anyMatch(line -> line.startsWith("FORKD_PREWARM_SCRATCH_DIR "));
    assertThat(warnings(() -> parsed(Map.of("FORKD_STATE", "")).config())).isEmpty();
  }

  private static ServeCommand parsed(Map<String, String> environment, String... flags) {
    ServeCommand command = new ServeCommand(FakeDaemonMain::open, environment);
    new CommandLine(command).parseArgs(flags);
    return command;
  }

  /** What the command warns of while this runs. */
  private static List<String> warnings(Runnable work) {
    Logger logger = (Logger) LoggerFactory.getLogger(ServeCommand.class);
    ListAppender<ILoggingEvent> appender = new ListAppender<>();
    appender.start();
    logger.addAppender(appender);
    try {
      work.run();
    } finally {
      logger.detachAppender(appender);
    }
    return appender.list.stream().map(ILoggingEvent::getFormattedMessage).toList();
  }

  private Process daemonProcess(String... flags) throws IOException {
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:TieredStopAtLevel=1",
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                FakeDaemonMain.class.getName(),
                "serve",
                "--data-dir",
                dataDir().toString(),
                "--bind",
                "127.0.0.1:0"));
    command.addAll(List.of(flags));
    Process process =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(
                ProcessBuilder.Redirect.appendTo(folder.resolve("daemons.log").toFile()))
            .start();
    processes.add(process);
    return process;
  }

  private DaemonFile awaitDaemon(Process process) {
    await()
        .atMost(TestDaemon.PATIENCE)
        .until(() -> daemonFile().filter(file -> file.pid() == process.pid()).isPresent());
    return daemonFile().orElseThrow();
  }

  /** With real processes: a daemon in the background gives way, one in the foreground does not. */
  @Test
  void theForegroundTakesOverFromTheBackground() throws Exception {
    Process background = daemonProcess("--background", "--idle-exit-secs", "600");
    DaemonFile first = awaitDaemon(background);
    assertThat(first.background()).isTrue();

    Process foreground = daemonProcess();
    DaemonFile second = awaitDaemon(foreground);
    assertThat(second.background()).isFalse();
    assertThat(background.waitFor(60, TimeUnit.SECONDS)).isTrue();

    Process third = daemonProcess();
    assertThat(third.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(third.exitValue()).isEqualTo(1);
    assertThat(Files.readString(folder.resolve("daemons.log")))
        .contains("answers at " + second.url(), "taking", "over from the daemon");
    assertThat(daemonFile()).contains(second);

    try (Forkd forkd = Forkd.connect(second.url(), Files.readString(dataDir().resolve("token")))) {
      assertThat(forkd.snapshots()).hasSize(1);
      foreground.destroy();
      assertThat(foreground.waitFor(60, TimeUnit.SECONDS)).isTrue();
      assertThat(dataDir().resolve("daemon.json")).doesNotExist();
      assertThatThrownBy(forkd::snapshots).isInstanceOf(ForkdApiException.class);
    }
  }

  /** SIGTERM lets a request that runs come to its end. */
  @Test
  void requestsDrainBeforeTheEngineCloses() throws Exception {
    Process process = daemonProcess();
    DaemonFile file = awaitDaemon(process);
    try (Forkd forkd = Forkd.connect(file.url(), Files.readString(dataDir().resolve("token")))) {
      var sandbox = forkd.fork("python");
      var running = CompletableFuture.supplyAsync(() -> sandbox.exec("sleep", "2"));
      await().atMost(TestDaemon.PATIENCE).until(() -> sandbox.ping().processes() == 1);
      process.destroy();
      assertThat(running.get(60, TimeUnit.SECONDS).exitCode()).isZero();
      assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
    }
  }

  /** A file of a daemon that was killed is nobody's word. */
  @Test
  void aKilledDaemonIsReplaced() throws Exception {
    Process process = daemonProcess();
    awaitDaemon(process);
    process.destroyForcibly().waitFor();
    assertThat(dataDir().resolve("daemon.json")).exists();
    assertThat(daemonFile()).isEmpty();
    try (Daemon daemon = start(FakeDaemonMain::open)) {
      assertThat(daemonFile().orElseThrow().url()).isEqualTo(daemon.url());
    }
  }

  @Test
  void anEngineThatIsOpenedIsClosedOnce() {
    int[] closed = {0};
    ForkdEngine engine = new FakeEngine().onClose(() -> closed[0]++);
    Daemon daemon = start(_ -> engine);
    daemon.close();
    daemon.close();
    assertThat(closed[0]).isEqualTo(1);
  }
}
