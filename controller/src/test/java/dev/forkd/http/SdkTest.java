package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.ExecResponse;
import dev.forkd.api.rest.FileEntry;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.sdk.BranchOptions;
import dev.forkd.sdk.Command;
import dev.forkd.sdk.ExitStatus;
import dev.forkd.sdk.ForkOptions;
import dev.forkd.sdk.ForkOutcome;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.OutputListener;
import dev.forkd.sdk.RunningCommand;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.Snapshot;
import dev.forkd.sdk.TemplateRecipe;
import dev.forkd.testkit.FakeEngine;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The Java client and the daemon understand each other, over a real socket. */
class SdkTest {
  @TempDir Path folder;
  private TestDaemon daemon;
  private Forkd forkd;

  @BeforeEach
  void start() {
    daemon = new TestDaemon(new FakeEngine().withTemplate("python"), folder);
    forkd = Forkd.connect(daemon.url() + "/", TestDaemon.TOKEN);
  }

  @AfterEach
  void stop() {
    forkd.close();
    daemon.close();
  }

  /** Collects output; slow on purpose if told so. */
  private static final class Collected implements OutputListener {
    final ByteArrayOutputStream out = new ByteArrayOutputStream();
    final ByteArrayOutputStream err = new ByteArrayOutputStream();
    final CountDownLatch first = new CountDownLatch(1);

    @Override
    public synchronized void stdout(byte[] chunk) {
      out.writeBytes(chunk);
      first.countDown();
    }

    @Override
    public synchronized void stderr(byte[] chunk) {
      err.writeBytes(chunk);
    }
  }

  @Test
  void aLifeFromForkToBranchToGrandchildren() {
    assertThat(forkd.isHealthy()).isTrue();
    assertThat(forkd.version().api()).isEqualTo("v1");
    try (Sandbox sandbox = forkd.fork("python")) {
      assertThat(sandbox.eval("1+1").result()).contains("2");
      assertThat(sandbox.eval("1/0").error().orElseThrow()).startsWith("ZeroDivisionError");
      assertThat(sandbox.ping().pong()).isTrue();
      ExecResponse echoed = sandbox.exec("echo", "hi");
      assertThat(echoed.stdout()).isEqualTo("hi\n");
      Snapshot branch = sandbox.branch("b");
      assertThat(branch.info().branchedFrom()).contains(sandbox.id());
      assertThat(branch.info().pauseMs()).isEqualTo(OptionalLong.of(9));
      assertThat(sandbox.refresh().branchCount()).isEqualTo(1);
      List<Sandbox> grandchildren = branch.fork(3);
      assertThat(grandchildren).extracting(Sandbox::id).hasSize(3).doesNotHaveDuplicates();
      assertThat(sandbox.branch(BranchOptions.measureDiff()).info().diffMs()).isPresent();
      assertThat(forkd.sandbox(sandbox.id()).info().snapshotTag()).isEqualTo("python");
      grandchildren.forEach(Sandbox::close);
    }
    assertThat(forkd.sandboxes()).isEmpty();
    assertThat(forkd.snapshots()).hasSize(3);
    forkd.snapshot("b").delete();
    assertThat(forkd.metrics()).contains("forkd_snapshots_total 2");
    assertThat(forkd.recovery().adopted()).containsExactly("sb1");
    forkd.shutdown();
    // The answer comes first, so that it arrives.
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() -> assertThat(daemon.shutdowns).hasValue(1));
  }

  @Test
  void aChainFromItsBaseToAFlatCopy() {
    Snapshot base = forkd.snapshot("python");
    Snapshot one = base.fork().branch(BranchOptions.diff().tag("one").withParent());
    Snapshot two = one.fork().branch(BranchOptions.diff().tag("two").withParent());
    assertThat(two.detail().ancestors()).containsExactly("python", "one");
    assertThat(base.detail().dependents()).containsExactly("one");
    assertThatThrownBy(one::delete)
        .isInstanceOfSatisfying(
            ForkdApiException.class,
            e -> assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION));
    Snapshot flat = two.compact("flat");
    assertThat(flat.info().branchedFrom()).contains("compact:two");
    assertThat(flat.detail().chainDepth()).isZero();
    one.deleteAlone();
    assertThatThrownBy(two::detail)
        .isInstanceOfSatisfying(
            ForkdApiException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DATA_LOSS));
    two.delete();
    base.deleteWithDependents();
    assertThat(forkd.snapshots()).extracting(Snapshot::tag).containsExactly("flat");
  }

  @Test
  void forkOptionsArrive() {
    List<Sandbox> children =
        forkd.fork("python", ForkOptions.of(2).withMemoryLimitMib(256).certified());
    assertThat(children)
        .extracting(Sandbox::info)
        .extracting(SandboxInfo::memoryLimitMib)
        .containsExactly(OptionalLong.of(256), OptionalLong.of(256));
    assertThat(children.getFirst().info().certificate().orElseThrow().state())
        .isEqualTo("verified");
    daemon.engine.failChildren(1);
    List<ForkOutcome> outcomes = forkd.snapshot("python").forkPartially(ForkOptions.of(2));
    assertThat(outcomes.getFirst()).isInstanceOf(ForkOutcome.Started.class);
    assertThat(outcomes.getLast())
        .isEqualTo(new ForkOutcome.Failed(ErrorCode.UNAVAILABLE, "child 1 died"));
  }

  @Test
  void failuresCarryCodeStatusAndRequest() {
    assertThatThrownBy(() -> forkd.fork("nonesuch"))
        .isInstanceOfSatisfying(
            ForkdApiException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND);
              assertThat(e.status()).isEqualTo(404);
              assertThat(e.requestId()).isNotEmpty();
              assertThat(e.message()).contains("nonesuch", "not found");
            });
    Sandbox sandbox = forkd.fork("python");
    assertThatThrownBy(() -> sandbox.exec(Command.of(List.of())))
        .isInstanceOfSatisfying(
            ForkdApiException.class, e -> assertThat(e.status()).isEqualTo(400));
    sandbox.kill();
    assertThatThrownBy(sandbox::kill)
        .isInstanceOfSatisfying(
            ForkdApiException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND));
    sandbox.close();
    try (Forkd stranger = Forkd.connect(daemon.url(), "wrong-token-wrong-token")) {
      assertThat(stranger.isHealthy()).isTrue();
      assertThatThrownBy(stranger::snapshots)
          .isInstanceOfSatisfying(
              ForkdApiException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.UNAUTHENTICATED));
    }
    String deadUrl = daemon.url();
    daemon.server().close();
    try (Forkd nobody = Forkd.connect(deadUrl, "x")) {
      assertThatThrownBy(nobody::snapshots)
          .isInstanceOfSatisfying(
              ForkdApiException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.UNAVAILABLE);
                assertThat(e.status()).isZero();
                assertThat(e.message()).contains("forkd serve");
              });
    }
    assertThatThrownBy(() -> Forkd.connect("not an address", "x"))
        .isInstanceOf(ForkdApiException.class)
        .hasMessageContaining("not an address");
  }

  @Test
  void templatesAreBuiltWithProgress() {
    List<String> progress = new ArrayList<>();
    Snapshot made =
        forkd.buildTemplate(
            "numbers",
            TemplateRecipe.ofPackages(List.of("python3", "python3-numpy"))
                .withMemoryMib(256)
                .andWarm("import numpy"),
            progress::add);
    assertThat(made.tag()).isEqualTo("numbers");
    assertThat(progress).containsExactly("making the disk", "booting", "freezing");
    assertThatThrownBy(() ->
            forkd.buildTemplate(
                "other", TemplateRecipe.ofPackages(List.of()).andRun("false"), _ -> {}))
        .isInstanceOfSatisfying(
            ForkdApiException.class,
            e -> assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION));
    daemon.engine.failNext(new ForkdException(ErrorCode.UNAVAILABLE, "no qemu"));
    assertThatThrownBy(
            () -> forkd.buildTemplate("x", TemplateRecipe.ofPackages(List.of()), _ -> {}))
        .hasMessage("no qemu");
  }

  @Test
  void filesGoInAndOut() throws Exception {
    Sandbox sandbox = forkd.fork("python");
    long seed = System.nanoTime();
    byte[] bytes = new byte[3_000_000];
    new Random(seed).nextBytes(bytes);
    String path = "/tmp/a folder/50%+ä&?#.bin";
    assertThat(sandbox.files().write(path, bytes)).isEqualTo(bytes.length);
    assertThat(sandbox.files().read(path)).as("seed %d", seed).isEqualTo(bytes);
    ByteArrayOutputStream sink = new ByteArrayOutputStream();
    assertThat(sandbox.files().read(path, sink)).isEqualTo(bytes.length);
    FileEntry entry = sandbox.files().stat(path);
    assertThat(entry.path()).isEqualTo(path);
    assertThat(entry.sizeBytes()).isEqualTo(bytes.length);
    assertThat(sandbox.files().list("/tmp/a folder")).containsExactly(entry);
    sandbox.files().move(path, "/b");
    assertThat(sandbox.files().writeText("/empty", "")).isZero();
    assertThat(sandbox.files().readText("/empty")).isEmpty();
    sandbox.files().makeDirectory("/d");
    assertThat(sandbox.files().stat("/d").type()).isEqualTo("directory");
    Path local = Files.writeString(folder.resolve("local"), "here");
    sandbox.files().upload(local, "/l");
    assertThat(sandbox.files().readText("/l")).isEqualTo("here");
    sandbox
        .files()
        .write(
            "/mode",
            new java.io.ByteArrayInputStream(new byte[3]),
            OptionalInt.of(0600),
            Optional.of("nobody"));
    assertThat(sandbox.files().stat("/mode").mode()).isEqualTo(0600);
    sandbox.files().remove("/b");
    assertThatThrownBy(() -> sandbox.files().read("/b"))
        .isInstanceOfSatisfying(
            ForkdApiException.class, e -> assertThat(e.status()).isEqualTo(404));
    assertThatThrownBy(() -> sandbox.files().stat("relative"))
        .isInstanceOfSatisfying(
            ForkdApiException.class, e -> assertThat(e.status()).isEqualTo(400));
  }

  @Test
  void aRunningCommandIsHeardFedAndSignalled() throws Exception {
    Sandbox sandbox = forkd.fork("python");
    Collected heard = new Collected();
    try (RunningCommand cat = sandbox.start(Command.of("cat").withOpenStdin(), heard)) {
      cat.writeStdin("one ".getBytes(StandardCharsets.UTF_8));
      assertThat(heard.first.await(40, TimeUnit.SECONDS)).isTrue();
      assertThat(cat.isRunning()).isTrue();
      cat.writeStdin("two".getBytes(StandardCharsets.UTF_8));
      cat.closeStdin();
      assertThat(cat.await())
          .isEqualTo(new ExitStatus(0, OptionalInt.empty(), false, OptionalInt.empty()));
    }
    assertThat(heard.out.toString(StandardCharsets.UTF_8)).isEqualTo("one two");
    try (RunningCommand sleep = sandbox.start(Command.of("sleep", "60"), new Collected())) {
      sleep.signal(15);
      assertThat(sleep.await().signal()).isEqualTo(OptionalInt.of(15));
    }
    Collected warned = new Collected();
    try (RunningCommand warn = sandbox.start(Command.of("warn", "careful"), warned)) {
      assertThat(warn.await().exitCode()).isZero();
    }
    assertThat(warned.err.toString(StandardCharsets.UTF_8)).isEqualTo("careful\n");
    byte[] given = "x".repeat(100_000).getBytes(StandardCharsets.UTF_8);
    Collected copied = new Collected();
    try (RunningCommand cat = sandbox.start(Command.of("cat").stdin(given), copied)) {
      assertThat(cat.await().exitCode()).isZero();
    }
    assertThat(copied.out.toByteArray()).isEqualTo(given);
    Command late = Command.of("sleep", "60").timeout(Duration.ofSeconds(1));
    try (RunningCommand sleep = sandbox.start(late, new Collected())) {
      assertThat(sleep.await().timedOut()).isTrue();
    }
  }

  /** A quiet command and a talkative one: both end when nobody listens any more. */
  @Test
  void aClientThatHangsUpEndsTheCommand() {
    Sandbox sandbox = forkd.fork("python");
    Command forever = Command.of("sleep", "600").timeout(Duration.ofMinutes(20));
    RunningCommand quiet = sandbox.start(forever, new Collected());
    Command talkative = Command.of("yes").timeout(Duration.ofMinutes(20));
    RunningCommand loud = sandbox.start(talkative, new SlowListener());
    assertThat(daemon.engine.liveProcesses()).isEqualTo(2);
    quiet.close();
    loud.close();
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() -> assertThat(daemon.engine.liveProcesses()).isZero());
    assertThatThrownBy(quiet::await).isInstanceOf(ForkdApiException.class);
  }

  private static final class SlowListener implements OutputListener {
    @Override
    public void stdout(byte[] chunk) {
      try {
        Thread.sleep(20);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }

    @Override
    public void stderr(byte[] chunk) {
      throw new AssertionError("nothing is written there");
    }
  }

  @Test
  void aKilledSandboxEndsItsCommandWithAReason() {
    Sandbox sandbox = forkd.fork("python");
    RunningCommand sleep = sandbox.start(Command.of("sleep", "600"), new Collected());
    sandbox.kill();
    assertThatThrownBy(sleep::await)
        .isInstanceOfSatisfying(
            ForkdApiException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.UNAVAILABLE);
              assertThat(e.message()).contains("was killed");
            });
  }
}
