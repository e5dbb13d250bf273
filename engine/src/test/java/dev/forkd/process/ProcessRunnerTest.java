package dev.forkd.process;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** That programs run bounded in time and output, and that their failures say what to do. */
class ProcessRunnerTest {
  @TempDir Path folder;

  @Test
  void streamsAreKeptApart() {
    ProcessResult result = ProcessRunner.run(shell("echo out; echo err >&2; exit 3"));
    assertThat(result.exitStatus()).isEqualTo(3);
    assertThat(result.stdout()).isEqualTo("out\n");
    assertThat(result.stderr()).isEqualTo("err\n");
    assertThat(result.truncated()).isFalse();
  }

  @Test
  void theEndOfLongOutputIsKept() {
    ProcessResult result =
        ProcessRunner.run(shell("seq 1 200000; echo last").outputLimitBytes(1000));
    assertThat(result.truncated()).isTrue();
    assertThat(result.stdout()).hasSize(1000).endsWith("200000\nlast\n");
  }

  @Test
  void outputUpToTheLimitIsWhole() {
    ProcessResult result = ProcessRunner.run(shell("seq 1 20000").outputLimitBytes(1 << 20));
    assertThat(result.truncated()).isFalse();
    assertThat(result.stdout().lines()).hasSize(20000).startsWith("1", "2").endsWith("20000");
  }

  @Test
  void aFailureNamesCommandStatusLastLinesAndAdvice() {
    assertThatThrownBy(() ->
            ProcessRunner.check(
                shell("seq 1 50 >&2; echo 'no such package' >&2; exit 7").advice("check the name")))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION);
              assertThat(e.details()).containsEntry("exit_status", "7");
            })
        .hasMessageContaining("sh -c")
        .hasMessageContaining("exit status 7")
        .hasMessageContaining("50 | no such package; check the name")
        .hasMessageNotContaining("| 12 |");
  }

  @Test
  void aTimeoutKillsTheProgramAndWhatItStarted() throws Exception {
    Path pids = folder.resolve("pids");
    Duration timeout = Duration.ofMillis(700);
    String told = timesOut(pids, timeout);
    // On a machine that stalls its time may be up before it has begun.
    while (!told.contains("waiting") && timeout.toSeconds() < 30) {
      timeout = timeout.multipliedBy(5);
      told = timesOut(pids, timeout);
    }
    assertThat(told).contains("waiting");
    long child = Long.parseLong(Files.readString(pids).strip());
    org.awaitility.Awaitility.await()
        .atMost(Duration.ofSeconds(60))
        .until(() -> ProcessHandle.of(child).map(ProcessHandle::isAlive).orElse(false), b -> !b);
  }

  private static String timesOut(Path pids, Duration timeout) {
    long begin = System.nanoTime();
    ForkdException told =
        catchThrowableOfType(
            ForkdException.class,
            () ->
                ProcessRunner.run(
                    shell("sleep 1000 & echo $! > '" + pids + "'; echo waiting; wait")
                        .timeout(timeout)));
    assertThat(told.code()).isEqualTo(ErrorCode.DEADLINE_EXCEEDED);
    assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(timeout.plusSeconds(60));
    return told.message();
  }

  @Test
  void whatHoldsTheOutputOpenDelaysNothingForLong() {
    ProcessResult result =
        ProcessRunner.run(shell("sleep 70 & echo done").timeout(Duration.ofSeconds(65)));
    assertThat(result.stdout()).isEqualTo("done\n");
    assertThat(result.duration()).isLessThan(Duration.ofSeconds(60));
  }

  @Test
  void anInterruptKillsTheProgram() throws Exception {
    AtomicReference<Throwable> failure = new AtomicReference<>();
    Thread runner =
        Thread.ofVirtual()
            .start(() -> {
              try {
                ProcessRunner.run(shell("sleep 1000"));
              } catch (ForkdException e) {
                failure.set(e);
              }
            });
    Thread.sleep(200);
    runner.interrupt();
    assertThat(runner.join(Duration.ofSeconds(60))).isTrue();
    assertThat(failure.get())
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.CANCELLED));
  }

  @Test
  void aMissingProgramIsNamed() {
    assertThatThrownBy(() -> ProcessRunner.run(Command.of("forkd-no-such-program", "x")))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION))
        .hasMessageContaining("forkd-no-such-program")
        .hasMessageContaining("install");
  }

  @Test
  void linesArriveWithoutTheirEndsAlsoFromProgressBars() {
    List<String> lines = new CopyOnWriteArrayList<>();
    ProcessRunner.check(shell("printf 'a\\nb\\r50%%\\r100%%\\nno end'").lines(lines::add));
    assertThat(lines).containsExactly("a", "b", "50%", "100%", "no end");
  }

  @Test
  void folderEnvironmentAndFileAreHonoured() throws Exception {
    Path out = folder.resolve("out");
    ProcessResult result =
        ProcessRunner.check(
            shell("pwd; echo \"$GREETING\"")
                .in(folder)
                .environment(Map.of("GREETING", "hello"))
                .stdoutTo(out));
    assertThat(result.stdout()).isEmpty();
    assertThat(Files.readString(out)).isEqualTo(folder.toRealPath() + "\nhello\n");
  }

  @Test
  void standardInputIsEmpty() {
    assertThat(ProcessRunner.check(Command.of("cat")).stdout()).isEmpty();
  }

  @Test
  void aCommandIsShownAsItCouldBeTyped() {
    assertThat(Command.of("mke2fs", "-L", "it's", "a b").display())
        .isEqualTo("mke2fs -L 'it'\\''s' 'a b'");
  }

  private static Command shell(String script) {
    return Command.of("sh", "-c", script);
  }
}
