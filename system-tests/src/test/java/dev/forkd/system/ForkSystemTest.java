package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ExecSession;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ForkSpec;
import dev.forkd.engine.SandboxView;
import dev.forkd.linux.ProcessIdentity;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Children of a template: what they share, and what they must not. */
class ForkSystemTest {
  private static final Duration CLOCK_PAUSE = Duration.ofSeconds(3);
  private static final Duration IDLE_WATCH = Duration.ofSeconds(4);

  @AfterEach
  void clean() {
    Lab.clean(Lab.engine());
  }

  /** No two of twenty children have random bytes, identity or certificate in common. */
  @Test
  void noTwoChildrenAreTwins() {
    List<SandboxId> ids = Lab.fork(Lab.PYTHON, 20);
    Set<String> seen = new HashSet<>();
    for (SandboxId id : ids) {
      List<String> samples =
          List.of(
              "u" + Lab.sh(id, "head -c 16 /dev/urandom | od -An -tx1"),
              "r" + Lab.eval(id, "random.random()"),
              "n" + Lab.eval(id, "numpy.random.random()"),
              "g" + Lab.eval(id, "numpy.random.standard_normal()"),
              "i" + Lab.eval(id, "uuid.uuid4()"),
              "m" + Lab.sh(id, "cat /etc/machine-id"),
              "h" + Lab.sh(id, "hostname"));
      assertThat(samples).allSatisfy(sample -> assertThat(seen.add(sample)).as(sample).isTrue());
      Certificate certificate = Lab.engine().sandbox(id).certificate();
      assertThat(certificate.state()).isEqualTo(Certificate.State.VERIFIED);
      assertThat(seen.add(certificate.randomSha256().orElseThrow())).isTrue();
      assertThat(seen.add(certificate.interpreterSha256().orElseThrow())).isTrue();
      assertThat(certificate.hostname()).contains(Lab.sh(id, "hostname").strip());
    }
    assertThat(Lab.sh(ids.getFirst(), "uname -r").strip())
        .isNotEqualTo(System.getProperty("os.version"));
  }

  /** The clocks of twenty children are right at once, and again after they stood still. */
  @Test
  void clocksAreRightAtOnceAndAfterAnIdlePause() throws Exception {
    List<SandboxId> ids = Lab.fork(Lab.PYTHON, 20);
    ids.parallelStream().forEach(ForkSystemTest::assertClockIsRight);
    for (SandboxId id : ids) {
      Certificate certificate = Lab.engine().sandbox(id).certificate();
      long error = certificate.clockErrorMaxMillis().orElseThrow();
      assertThat(error).isBetween(0L, 50L);
      assertThat(Math.abs(certificate.clockOffsetMillis().orElseThrow()))
          .isLessThanOrEqualTo(error);
    }
    await()
        .atMost(Lab.PATIENCE)
        .untilAsserted(() ->
            assertThat(ids)
                .allSatisfy(id -> assertThat(Lab.engine().sandbox(id).state()).isEqualTo("idle")));
    Thread.sleep(CLOCK_PAUSE.toMillis());
    assertThat(ids)
        .allSatisfy(id -> assertThat(Lab.engine().sandbox(id).state()).isEqualTo("idle"));
    ids.parallelStream().forEach(ForkSystemTest::assertClockIsRight);
  }

  /** The guest reads its clock between the two readings of the host's. */
  private static void assertClockIsRight(SandboxId id) {
    double before = System.currentTimeMillis() / 1000.0;
    double guest = Double.parseDouble(Lab.eval(id, "time.time()"));
    double after = System.currentTimeMillis() / 1000.0;
    assertThat(guest).as(id.value()).isBetween(before - 0.05, after + 0.05);
  }

  /**
   * A hundred children that have worked and have nothing more to do use no CPU; one with a
   * background process goes on.
   */
  @Test
  void idleChildrenCostNothing() throws Exception {
    List<SandboxId> ids = Lab.fork(Lab.PYTHON, 101);
    for (SandboxId id : ids) {
      Lab.eval(id, "1");
    }
    SandboxId busy = ids.getFirst();
    Lab.sh(busy, "(while :; do echo t >> /tmp/ticks; sleep 0.05; done) >/dev/null 2>&1 &");
    List<SandboxId> idle = ids.subList(1, ids.size());
    await()
        .atMost(Lab.PATIENCE)
        .untilAsserted(() ->
            assertThat(idle)
                .allSatisfy(id -> assertThat(Lab.engine().sandbox(id).state()).isEqualTo("idle")));
    int first = ticks(busy);
    long busyBefore = Lab.cpuMillis(List.of(busy));
    long used = cpuMillisWhileWatched(idle);
    // On a machine that stalls some may still have been about to rest.
    for (int i = 0; i < 2 && used >= 50; i++) {
      used = cpuMillisWhileWatched(idle);
    }
    // Counted in ticks of 10 ms: one or two may fall due from what was used before.
    assertThat(used).isLessThan(50);
    assertThat(Lab.cpuMillis(List.of(busy))).as("what works is seen").isGreaterThan(busyBefore);
    await().atMost(Lab.PATIENCE).until(() -> ticks(busy) > first);
    assertThat(Lab.engine().sandbox(busy).state()).isEqualTo("running");
  }

  private static long cpuMillisWhileWatched(List<SandboxId> ids) throws Exception {
    long before = Lab.cpuMillis(ids);
    Thread.sleep(IDLE_WATCH.toMillis());
    long used = Lab.cpuMillis(ids) - before;
    System.out.printf(
        "%d idle children used %d ms of CPU in %d ms%n", ids.size(), used, IDLE_WATCH.toMillis());
    return used;
  }

  private static int ticks(SandboxId id) {
    return Integer.parseInt(Lab.sh(id, "wc -l < /tmp/ticks").strip());
  }

  /** Memory and disk of siblings are their own. */
  @Test
  void siblingsShareNothingTheyWrite() {
    List<SandboxId> ids = Lab.fork(Lab.PYTHON, 2);
    Lab.sh(ids.get(0), "echo mine > /root/note; sync");
    Lab.eval(ids.get(0), "x = 1");
    assertThat(Lab.sh(ids.get(1), "cat /root/note 2>&1 || true")).contains("No such file");
    assertThat(Lab.engine().eval(ids.get(1), "x", Lab.PATIENCE).error().orElseThrow())
        .contains("NameError");
  }

  /** A child that takes more than its limit is ended, and says why until it is removed. */
  @Test
  void memoryLimitIsEnforced() {
    SandboxId id =
        Lab.started(
                Lab.engine()
                    .fork(
                        new ForkSpec(
                            Lab.PYTHON, 1, OptionalLong.of(160), true, false, false, "emulation")))
            .getFirst();
    assertThat(Lab.engine().sandbox(id).certificate().state())
        .isEqualTo(Certificate.State.VERIFIED);
    assertThatThrownBy(() -> Lab.eval(id, "len(bytearray(os.urandom(1 << 20)) * 300)"))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("memory limit of 160 MiB");
    await()
        .atMost(Lab.PATIENCE)
        .untilAsserted(() -> {
          SandboxView view = Lab.engine().sandbox(id);
          assertThat(view.state()).isEqualTo("failed");
          assertThat(view.failure().orElseThrow()).contains("memory limit of 160 MiB");
        });
    assertThatThrownBy(() -> Lab.eval(id, "1")).hasMessageContaining("memory limit");
  }

  /** What cannot be asked for is refused with a reason, and leaves nothing behind. */
  @Test
  void impossibleForks() throws Exception {
    refused(ErrorCode.NOT_FOUND, "no-such", Lab.children(new Tag("no-such"), 1));
    refused(ErrorCode.INVALID_ARGUMENT, "1 to 1000", Lab.children(Lab.PYTHON, 0));
    refused(ErrorCode.INVALID_ARGUMENT, "1 to 1000", Lab.children(Lab.PYTHON, 1001));
    ForkSpec kvm =
        new ForkSpec(Lab.PYTHON, 1, OptionalLong.empty(), false, false, false, "strongest");
    refused(ErrorCode.INVALID_ARGUMENT, "strongest", kvm);
    assertThat(Lab.engine().sandboxes()).isEmpty();
    assertThat(Lab.contents("run")).isEmpty();
  }

  private static void refused(ErrorCode code, String words, ForkSpec spec) {
    assertThatThrownBy(() -> Lab.engine().fork(spec))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(code);
              assertThat(e.message()).contains(words);
            });
  }

  /**
   * What children are copied from may be killed, as by a host without memory: the next fork makes
   * another one.
   */
  @Test
  void killedZygoteIsReplaced() {
    Lab.eval(Lab.forkOne(), "1");
    List<ProcessHandle> zygotes = Lab.vmms("forkd-zy");
    assertThat(zygotes).isNotEmpty();
    List<ProcessIdentity> killed =
        zygotes.stream().map(process -> ProcessIdentity.of(process.pid())).toList();
    zygotes.forEach(ProcessHandle::destroyForcibly);
    await()
        .atMost(Lab.PATIENCE)
        .until(() -> killed.stream().noneMatch(ProcessIdentity::firstThreadIsAlive));
    assertThat(Lab.eval(Lab.forkOne(), "1 + 1")).isEqualTo("2");
    assertThat(Lab.eval(Lab.forkOne(), "2 + 2")).isEqualTo("4");
    assertThat(Lab.vmms("forkd-zy")).isNotEmpty().doesNotContainAnyElementsOf(zygotes);
  }

  /** A VMM that dies fails its sandbox alone; killing it frees everything it held. */
  @Test
  void deadVmmIsTold() throws Exception {
    List<SandboxId> ids = Lab.fork(Lab.PYTHON, 2);
    Lab.eval(ids.get(0), "1");
    int pid = Lab.engine().sandbox(ids.get(0)).pid().orElseThrow();
    ProcessHandle.of(pid).orElseThrow().destroyForcibly();
    await()
        .atMost(Lab.PATIENCE)
        .untilAsserted(
            () -> assertThat(Lab.engine().sandbox(ids.get(0)).state()).isEqualTo("failed"));
    assertThatThrownBy(() -> Lab.eval(ids.get(0), "1"))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.UNAVAILABLE));
    assertThat(Lab.eval(ids.get(1), "1 + 1")).isEqualTo("2");
    ids.forEach(Lab.engine()::kill);
    assertThat(Lab.contents("run")).isEmpty();
    assertThat(Lab.vmms()).isEmpty();
  }

  /** Streams, exit codes, signals, input, environment, folder, user and time-outs of commands. */
  @Test
  void commands() {
    SandboxId id = Lab.forkOne();
    var both = Lab.engine().exec(id, shell("echo out; echo err >&2; exit 3", Lab.PATIENCE));
    assertThat(new String(both.stdout(), StandardCharsets.UTF_8)).isEqualTo("out\n");
    assertThat(new String(both.stderr(), StandardCharsets.UTF_8)).isEqualTo("err\n");
    assertThat(both.exit()).isEqualTo(new ExecExit.Exited(3));
    assertThat(Lab.engine().exec(id, shell("kill -9 $$", Lab.PATIENCE)).exit())
        .isEqualTo(new ExecExit.Signalled(9));
    assertThat(Lab.engine().exec(id, shell("sleep 60", Duration.ofMillis(400))).exit())
        .isEqualTo(new ExecExit.TimedOut());
    byte[] input = new byte[700_000];
    Arrays.fill(input, (byte) 'x');
    var spec =
        new ExecSpec(
            List.of("sh", "-c", "wc -c; echo $GREETING; pwd; id -un"),
            Map.of("GREETING", "hello"),
            Optional.of("/tmp"),
            Optional.of("nobody"),
            input,
            false,
            Lab.PATIENCE,
            false,
            ExecSpec.DEFAULT_OUTPUT_LIMIT_BYTES);
    assertThat(new String(Lab.engine().exec(id, spec).stdout(), StandardCharsets.UTF_8))
        .isEqualTo("700000\nhello\n/tmp\nnobody\n");
    var missing = Lab.engine().exec(id, ExecSpec.of(List.of("no-such-program"), Lab.PATIENCE));
    assertThat(missing.exit()).isEqualTo(new ExecExit.Exited(127));
    assertThat(new String(missing.stderr(), StandardCharsets.UTF_8)).contains("no-such-program");
    var forbidden = Lab.engine().exec(id, ExecSpec.of(List.of("/etc/passwd"), Lab.PATIENCE));
    assertThat(forbidden.exit()).isEqualTo(new ExecExit.Exited(126));
    assertThatThrownBy(() -> Lab.engine().exec(id, ExecSpec.of(List.of(), Lab.PATIENCE)))
        .hasMessage("args must contain at least one element");
  }

  private static ExecSpec shell(String script, Duration timeout) {
    return ExecSpec.of(List.of("sh", "-c", script), timeout);
  }

  /** Killing a sandbox ends the command that runs in it, at once and with a reason. */
  @Test
  void killDuringExec() throws Exception {
    SandboxId id = Lab.forkOne();
    ByteArrayOutputStream heard = new ByteArrayOutputStream();
    ExecListener listener =
        new ExecListener() {
          @Override
          public void stdout(byte[] chunk) {
            heard.writeBytes(chunk);
          }

          @Override
          public void stderr(byte[] chunk) {
            heard.writeBytes(chunk);
          }
        };
    try (ExecSession session =
        Lab.engine().startExec(id, shell("echo started; sleep 60", Lab.PATIENCE), listener)) {
      await()
          .atMost(Lab.PATIENCE)
          .until(() -> heard.toString(StandardCharsets.UTF_8).equals("started\n"));
      Lab.engine().kill(id);
      assertThatThrownBy(session::await)
          .isInstanceOf(ForkdException.class)
          .hasMessageContaining("was killed");
    }
    assertThatThrownBy(() -> Lab.engine().sandbox(id)).hasMessageContaining(id.value());
  }

  /** Files go in and out unchanged, atomically and with their mode; errors name the path. */
  @Test
  void files() {
    SandboxId id = Lab.forkOne();
    byte[] content = new byte[3 << 20];
    new java.util.Random(7).nextBytes(content);
    var files = Lab.engine().files(id);
    assertThat(
            files.write(
                "/data/deep/file",
                new ByteArrayInputStream(content),
                OptionalInt.of(0640),
                Optional.empty()))
        .isEqualTo(content.length);
    ByteArrayOutputStream back = new ByteArrayOutputStream();
    assertThat(files.read("/data/deep/file", back)).isEqualTo(content.length);
    assertThat(back.toByteArray()).isEqualTo(content);
    assertThat(files.stat("/data/deep/file").mode()).isEqualTo(0640);
    files.move("/data/deep/file", "/data/moved");
    List<String> listed = new ArrayList<>();
    files.list("/data", entry -> listed.add(entry.path()));
    assertThat(listed).contains("/data/moved", "/data/deep");
    files.remove("/data");
    assertThatThrownBy(() -> files.stat("/data"))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND);
              assertThat(e.message()).contains("/data");
            });
  }

  /** Code that does not end is interrupted and the interpreter keeps its state. */
  @Test
  void evalTimesOut() {
    SandboxId id = Lab.forkOne();
    Lab.eval(id, "kept = 5");
    assertThatThrownBy(() -> Lab.engine().eval(id, "while True: pass", Duration.ofMillis(700)))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DEADLINE_EXCEEDED));
    assertThat(Lab.eval(id, "kept")).isEqualTo("5");
    assertThat(Lab.engine().ping(id).evaluator()).isEqualTo("ready");
  }
}
