package dev.forkd.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ProcessIdentityTest {
  /** For what must happen, however busy the machine is. */
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  /** A process is itself while it lives, and never its successor with the same pid. */
  @Test
  void livesAndDies() throws Exception {
    Process sleeper = new ProcessBuilder("sleep", "60").start();
    ProcessIdentity identity = ProcessIdentity.of(sleeper.pid());
    assertThat(identity.isAlive()).isTrue();
    assertThat(identity.sameAs(ProcessIdentity.of(sleeper.pid()))).isTrue();
    assertThat(identity.commandName()).contains("sleep");
    assertThat(identity.arguments()).containsExactly("sleep", "60");
    assertThat(new ProcessIdentity(identity.pid(), identity.startTicks() + 1).isAlive()).isFalse();
    assertThat(new ProcessIdentity(identity.pid(), identity.startTicks() + 1).signal(true))
        .isFalse();
    assertThat(identity.signal(true)).isTrue();
    sleeper.waitFor();
    assertThat(identity.isAlive()).isFalse();
    assertThat(identity.commandName()).isEmpty();
    assertThat(identity.signal(true)).isFalse();
    assertThat(ProcessIdentity.of(sleeper.pid()).isAlive()).isFalse();
  }

  /** A name with spaces and parentheses does not confuse the reading of its fields. */
  @Test
  void strangeNames(@TempDir Path dir) throws Exception {
    Path program = dir.resolve("a) Z (b");
    Files.copy(Path.of("/bin/sleep"), program);
    Process sleeper = new ProcessBuilder(program.toString(), "60").start();
    try {
      ProcessIdentity identity = ProcessIdentity.of(sleeper.pid());
      assertThat(identity.isAlive()).isTrue();
      assertThat(identity.startTicks()).isGreaterThan(ProcessIdentity.self().startTicks());
    } finally {
      sleeper.destroyForcibly().waitFor();
    }
  }

  /** A zombie is dead. The child ends after the exec, or the shell would still reap it. */
  @Test
  void zombiesAreDead() throws Exception {
    Process parent =
        new ProcessBuilder("sh", "-c", "exec 3<&0; (read x <&3) & echo $!; exec sleep 60")
            .redirectErrorStream(true)
            .start();
    try {
      long pid = Long.parseLong(parent.inputReader().readLine());
      await()
          .atMost(PATIENCE)
          .until(() -> ProcessIdentity.of(parent.pid()).commandName().equals(Optional.of("sleep")));
      parent.getOutputStream().close();
      await().atMost(PATIENCE).until(() -> !ProcessIdentity.of(pid).isAlive());
      assertThat(Files.exists(Path.of("/proc/" + pid)))
          .as("still there, as a zombie of %s", parent.pid())
          .isTrue();
    } finally {
      parent.destroyForcibly().waitFor();
    }
  }

  /** A process lives until its last thread has ended, though its first one is a zombie. */
  @Test
  void theLastThreadCounts() throws Exception {
    Process process =
        new ProcessBuilder(
                "python3",
                "-c",
                """
                import ctypes, threading, time
                threading.Thread(target=time.sleep, args=(60,)).start()
                print("up", flush=True)
                ctypes.CDLL(None).syscall(60, 0)  # exit, of this thread alone
                """)
            .start();
    try {
      assertThat(process.inputReader().readLine()).isEqualTo("up");
      Path status = Path.of("/proc/" + process.pid() + "/status");
      await().atMost(PATIENCE).until(() -> Files.readString(status).contains("State:\tZ"));
      ProcessIdentity identity = ProcessIdentity.of(process.pid());
      assertThat(identity.isAlive()).isTrue();
      assertThat(identity.signal(true)).isTrue();
      assertThat(identity.awaitEnd(PATIENCE)).isTrue();
    } finally {
      process.destroyForcibly().waitFor();
    }
  }

  /** The end of a process that is not our child is seen at once, and a deadline is kept. */
  @Test
  void endOfAForeignProcess() throws Exception {
    // The JDK's own watch of a foreign process begins with a pause of 300 ms. A machine that stalls
    // makes one end late, and not each of several.
    Duration atOnce = Duration.ofMillis(250);
    Duration least = endOfForeignProcess();
    for (int i = 0; i < 5 && least.compareTo(atOnce) >= 0; i++) {
      Duration again = endOfForeignProcess();
      least = again.compareTo(least) < 0 ? again : least;
    }
    assertThat(least).isLessThan(atOnce);
  }

  private static Duration endOfForeignProcess() throws Exception {
    Process parent =
        new ProcessBuilder("sh", "-c", "sleep 60 & echo $!; wait")
            .redirectErrorStream(true)
            .start();
    ProcessIdentity foreign = ProcessIdentity.of(Long.parseLong(parent.inputReader().readLine()));
    try {
      assertThat(foreign.awaitEnd(Duration.ofMillis(20))).isFalse();
      long begin = System.nanoTime();
      foreign.signal(true);
      assertThat(foreign.awaitEnd(PATIENCE)).isTrue();
      return Duration.ofNanos(System.nanoTime() - begin);
    } finally {
      foreign.signal(true);
      parent.destroyForcibly().waitFor();
    }
  }

  /** The monitors of one data directory are found by name, those of another are not. */
  @Test
  void ownedProcessesAreFound(@TempDir Path mine, @TempDir Path other) throws Exception {
    Process first = monitor("guest=forkd-sb1,process=forkd-sb1", mine);
    Process second = monitor("guest=forkd-sb2", mine);
    Process foreign = monitor("guest=forkd-sb3", other);
    Process unrelated = monitor("forkd-", mine);
    try {
      assertThat(ProcessIdentity.owned("forkd-", List.of(mine)))
          .containsExactlyInAnyOrder(
              new ProcessIdentity.Owned(ProcessIdentity.of(first.pid()), "sb1"),
              new ProcessIdentity.Owned(ProcessIdentity.of(second.pid()), "sb2"));
    } finally {
      for (Process process : List.of(first, second, foreign, unrelated)) {
        process.destroyForcibly().waitFor();
      }
    }
  }

  private static Process monitor(String name, Path dir) throws Exception {
    Process process =
        new ProcessBuilder(
                "sh", "-c", "echo up; read x", "monitor", "-name", name, "-log", dir + "/vmm.log")
            .start();
    assertThat(process.inputReader().readLine()).isEqualTo("up");
    return process;
  }
}
