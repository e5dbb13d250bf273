package dev.forkd.controller;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.ForkdEngine;
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
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

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

  @Test
  void anIdleDaemonEndsAndABusyOneDoesNot() throws Exception {
    FakeEngine engine = new FakeEngine().withTemplate("python");
    try (Daemon daemon =
        Daemon.start(
            config(Optional.of(Duration.ofSeconds(2))),
            _ -> engine,
            InstantSource.system(),
            System::nanoTime)) {
      long beginNanos = System.nanoTime();
      try (Forkd forkd = Forkd.connect(daemon.url(), Files.readString(dataDir().resolve("token")));
          var sandbox = forkd.fork("python")) {
        assertThat(sandbox.exec("sleep", "3").exitCode()).isZero();
      }
      daemon.awaitStopRequest();
      assertThat(Duration.ofNanos(System.nanoTime() - beginNanos))
          .isBetween(Duration.ofSeconds(5), Duration.ofSeconds(30));
    }
    assertThat(engine.isClosed()).isTrue();
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
        .atMost(Duration.ofSeconds(60))
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
    assertThat(background.waitFor(10, TimeUnit.SECONDS)).isTrue();

    Process third = daemonProcess();
    assertThat(third.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(third.exitValue()).isEqualTo(1);
    assertThat(Files.readString(folder.resolve("daemons.log")))
        .contains("answers at " + second.url(), "taking", "over from the daemon");
    assertThat(daemonFile()).contains(second);

    try (Forkd forkd = Forkd.connect(second.url(), Files.readString(dataDir().resolve("token")))) {
      assertThat(forkd.snapshots()).hasSize(1);
      foreground.destroy();
      assertThat(foreground.waitFor(15, TimeUnit.SECONDS)).isTrue();
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
      var running =
          java.util.concurrent.CompletableFuture.supplyAsync(() -> sandbox.exec("sleep", "2"));
      Thread.sleep(500);
      process.destroy();
      assertThat(running.get(20, TimeUnit.SECONDS).exitCode()).isZero();
      assertThat(process.waitFor(20, TimeUnit.SECONDS)).isTrue();
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
