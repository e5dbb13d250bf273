package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.linux.Cgroup;
import dev.forkd.sdk.BranchOptions;
import dev.forkd.sdk.ForkOptions;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.Snapshot;
import dev.forkd.state.DataDir;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a daemon leaves behind, and what the next one makes of it. */
class RestartSystemTest {
  @BeforeEach
  void bake() {
    Lab.clean(Lab.engine());
  }

  @AfterEach
  void nothingIsLeft() throws Exception {
    Lab.clean(Lab.engine());
    assertThat(Lab.vmms()).isEmpty();
    assertThat(Lab.contents("run")).isEmpty();
    assertThat(Lab.unfinished()).isEmpty();
    assertThat(sockets()).isEmpty();
    // The template's own: a root, a layer, a memory image.
    assertThat(images()).hasSize(3);
    Lab.release();
    assertThat(zygotes()).isEmpty();
  }

  /** Whatever zygotes have left anywhere, processes included. */
  private static List<String> zygotes() throws IOException {
    List<String> found = new ArrayList<>();
    for (String folder : List.of("images", "run")) {
      try (Stream<Path> entries = Files.list(Lab.DATA_DIR.resolve(folder))) {
        entries
            .map(entry -> String.valueOf(entry.getFileName()))
            .filter(Lab::isZygotes)
            .forEach(found::add);
      }
    }
    Lab.vmms("forkd-zy").forEach(process -> found.add(process.toString()));
    return found;
  }

  private static List<String> sockets() throws IOException {
    Path runtime = Files.readSymbolicLink(Lab.DATA_DIR.resolve("run"));
    try (Stream<Path> entries = Files.list(runtime)) {
      return entries
          .filter(entry -> !Lab.isZygotes(String.valueOf(entry.getFileName())))
          .map(Path::toString)
          .toList();
    }
  }

  private static Set<String> images() throws IOException {
    Set<String> images = new TreeSet<>(Lab.contents("ram"));
    Lab.contents("images").stream().filter(name -> !name.startsWith("empty-")).forEach(images::add);
    return images;
  }

  /** Live sandboxes and snapshots survive their daemon, however it ends. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void sandboxesAreAdopted(boolean killed) throws Exception {
    String idle;
    String busy;
    String fresh;
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      Sandbox first = forkd.fork("python");
      first.eval("state = list(range(1000))");
      first.exec("sh", "-c", "echo disk > /root/note");
      first.branch(BranchOptions.diff().tag("kept"));
      Sandbox second = forkd.fork("python");
      second.exec("sh", "-c", "(while :; do echo t >> /tmp/t; sleep 0.05; done) >/dev/null 2>&1 &");
      idle = first.id();
      busy = second.id();
      fresh = forkd.fork("python").id();
      if (killed) {
        daemon.kill();
      } else {
        daemon.terminate();
      }
    }
    assertThat(Lab.vmms()).hasSize(3);
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      assertThat(forkd.recovery().adopted()).containsExactlyInAnyOrder(idle, busy, fresh);
      assertThat(forkd.snapshots()).extracting(Snapshot::tag).contains("kept", "python");
      Sandbox first = forkd.sandbox(idle);
      assertThat(first.eval("len(state)").result()).contains("1000");
      assertThat(first.exec("cat", "/root/note").stdout()).isEqualTo("disk\n");
      assertThat(first.branch(BranchOptions.diff().tag("later")).tag()).isEqualTo("later");
      Sandbox child = forkd.fork("later");
      assertThat(child.eval("len(state)").result()).contains("1000");
      assertThat(forkd.fork("kept").eval("len(state)").result()).contains("1000");
      Sandbox second = forkd.sandbox(busy);
      int before = ticks(second);
      await().atMost(Lab.PATIENCE).until(() -> ticks(second) > before);
      assertThat(forkd.sandbox(fresh).eval("1 + 1").result()).contains("2");
      double asked = System.currentTimeMillis() / 1000.0;
      double guest = Double.parseDouble(first.eval("time.time()").result().orElseThrow());
      assertThat(guest).isBetween(asked - 0.3, System.currentTimeMillis() / 1000.0 + 0.3);
    }
  }

  private static int ticks(Sandbox sandbox) {
    return Integer.parseInt(sandbox.exec("sh", "-c", "wc -l < /tmp/t").stdout().strip());
  }

  /**
   * A memory limit outlives the daemon that set it: it is told, enforced, and gone with its child.
   */
  @Test
  @Timeout(value = 6, unit = TimeUnit.MINUTES)
  void memoryLimitsAreAdopted() throws Exception {
    List<String> ids;
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      List<Sandbox> children =
          forkd.fork("python", ForkOptions.of(2).certified().withMemoryLimitMib(160));
      ids = children.stream().map(Sandbox::id).toList();
      daemon.kill();
    }
    assertThat(cgroups()).hasSize(2);
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      assertThat(forkd.recovery().adopted()).containsExactlyInAnyOrderElementsOf(ids);
      Sandbox greedy = forkd.sandbox(ids.getFirst());
      Sandbox modest = forkd.sandbox(ids.getLast());
      assertThat(greedy.refresh().memoryLimitMib()).hasValue(160);
      assertThat(modest.eval("1 + 1").result()).contains("2");
      assertThatThrownBy(() -> greedy.eval("len(bytearray(os.urandom(1 << 20)) * 300)"))
          .isInstanceOf(ForkdApiException.class);
      await()
          .atMost(Lab.PATIENCE)
          .untilAsserted(() ->
              assertThat(greedy.refresh().failure())
                  .hasValueSatisfying(why -> assertThat(why).contains("memory limit of 160 MiB")));
      // Its reason is there for the next daemon as well.
      daemon.kill();
    }
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      assertThat(forkd.recovery().adopted()).containsExactly(ids.getLast());
      assertThat(forkd.sandbox(ids.getFirst()).refresh().failure().orElseThrow())
          .contains("memory limit of 160 MiB");
      assertThat(cgroups()).hasSize(1);
      ids.forEach(id -> forkd.sandbox(id).kill());
      assertThat(forkd.sandboxes()).isEmpty();
      assertThat(cgroups()).isEmpty();
    }
  }

  private static List<String> cgroups() throws IOException {
    String prefix = DataDir.open(Lab.DATA_DIR).cgroupPrefix();
    return Cgroup.listOwned(Cgroup.detect(), prefix).stream().map(Cgroup::name).toList();
  }

  /** A daemon killed at any moment of forks and branches loses nothing it answered. */
  @Test
  @Timeout(value = 8, unit = TimeUnit.MINUTES)
  void killedInTheMiddle() throws Exception {
    long seed = System.nanoTime();
    System.out.println("RestartSystemTest.killedInTheMiddle seed " + seed);
    Random random = new Random(seed);
    for (int round = 0; round < 2; round++) {
      List<String> answered = new ArrayList<>();
      try (Daemon daemon = Daemon.start();
          Forkd forkd = daemon.client()) {
        int number = round;
        Thread work = Thread.ofPlatform().start(() -> forkAndBranch(forkd, number, answered));
        Thread.sleep(300 + random.nextInt(2500));
        daemon.kill();
        work.join();
      }
      try (Daemon daemon = Daemon.start();
          Forkd forkd = daemon.client()) {
        List<String> tags = forkd.snapshots().stream().map(Snapshot::tag).toList();
        assertThat(tags).as("seed %d", seed).containsAll(answered);
        for (String tag : answered) {
          assertThat(forkd.fork(tag).eval("n").result()).as("seed %d", seed).contains("7");
        }
        for (Sandbox sandbox : forkd.sandboxes()) {
          assertThat(sandbox.eval("40 + 2").result()).as("seed %d", seed).contains("42");
        }
      }
      Lab.clean(Lab.engine());
    }
  }

  private static void forkAndBranch(Forkd forkd, int round, List<String> answered) {
    try {
      for (int i = 0; ; i++) {
        Sandbox sandbox = forkd.fork("python");
        sandbox.eval("n = 7");
        String tag = "r" + round + "-" + i;
        sandbox.branch(BranchOptions.diff().tag(tag));
        answered.add(tag);
      }
    } catch (ForkdApiException e) {
      // The daemon was killed: what was not answered may or may not be there.
      return;
    }
  }
}
