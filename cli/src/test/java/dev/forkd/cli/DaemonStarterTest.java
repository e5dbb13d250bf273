package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ForkdException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Shows that a command gets a daemon where none runs, and says why where that fails. */
class DaemonStarterTest {
  @TempDir Path folder;
  private DataDir dataDir;
  private FakeDaemon daemon;

  @BeforeEach
  void start() throws Exception {
    dataDir = new DataDir(folder.resolve("data"));
    daemon = new FakeDaemon().answers("GET /healthz", 200, "{\"ok\":true}");
  }

  @AfterEach
  void stop() {
    daemon.close();
    System.clearProperty("forkd.launcher");
  }

  @Test
  void startsOneAndWaitsUntilItAnswers() throws Exception {
    launcher(
        """
        echo "$@" >>"$(dirname "$0")/started"
        [ "$1 $2" = "serve --background" ] || exit 2
        while [ $# -gt 0 ]; do [ "$1" != --data-dir ] || data=$2; shift; done
        sleep 0.3
        ticks=$(cut -d' ' -f22 /proc/$$/stat)
        cat >"$data/daemon.part" <<END
        {"url":"%s","pid":$$,"startTicks":$ticks,"tokenFile":"$data/token","background":true,"version":"1"}
        END
        mv "$data/daemon.part" "$data/daemon.json"
        exec sleep 100
        """
            .formatted(daemon.url()));
    DaemonFile found = starter().findOrStart();
    try {
      assertThat(found.url()).isEqualTo(daemon.url());
      assertThat(starter().findOrStart())
          .as("the second command uses the first's")
          .isEqualTo(found);
      assertThat(Files.readAllLines(folder.resolve("started")))
          .containsExactly("serve --background --idle-exit-secs 60 --data-dir " + dataDir.path());
    } finally {
      ProcessHandle.of(found.pid()).orElseThrow().destroy();
    }
  }

  @Test
  void aDaemonThatEndsAtOnceIsQuoted() throws Exception {
    launcher("echo 'Error: no QEMU here'; exit 7\n");
    assertThatThrownBy(() -> starter().findOrStart())
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("status 7")
        .hasMessageContaining("no QEMU here")
        .hasMessageContaining("daemon.log");
  }

  @Test
  void withoutALauncherItSaysWhatToDo() {
    assertThatThrownBy(() -> starter().findOrStart()).hasMessageContaining("forkd serve");
  }

  @Test
  void commandsAtOnceShareTheDaemonThatWon() throws Exception {
    launcher(
        """
        while [ $# -gt 0 ]; do [ "$1" != --data-dir ] || data=$2; shift; done
        mkdir "$data/owner" 2>/dev/null || { echo "another owns it"; exit 1; }
        sleep 0.5
        ticks=$(cut -d' ' -f22 /proc/$$/stat)
        cat >"$data/daemon.part" <<END
        {"url":"%s","pid":$$,"startTicks":$ticks,"tokenFile":"$data/token","background":true,"version":"1"}
        END
        mv "$data/daemon.part" "$data/daemon.json"
        exec sleep 100
        """
            .formatted(daemon.url()));
    try (ExecutorService both = Executors.newVirtualThreadPerTaskExecutor()) {
      Callable<DaemonFile> command = () -> starter().findOrStart();
      List<Future<DaemonFile>> found = both.invokeAll(List.of(command, command));
      assertThat(found.getFirst().get()).isEqualTo(found.getLast().get());
      ProcessHandle.of(found.getFirst().get().pid()).orElseThrow().destroy();
    }
  }

  private DaemonStarter starter() {
    return new DaemonStarter(
        dataDir, Map.copyOf(System.getenv()), new PrintWriter(new StringWriter()));
  }

  private void launcher(String text) throws Exception {
    Path script = Files.writeString(folder.resolve("forkd"), "#!/usr/bin/env bash\n" + text);
    assertThat(script.toFile().setExecutable(true)).isTrue();
    System.setProperty("forkd.launcher", script.toString());
  }
}
