package dev.forkd.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Runs against the host's own groups; where it has none to give, says so and skips. */
class CgroupTest {
  private static final CgroupSupport SUPPORT = Cgroup.detect();
  private static final String PREFIX = "forkd-test" + ProcessHandle.current().pid() + "-";
  private static final long MIB = 1 << 20;

  /** Takes argument 1 in MiB, touches it all, says so, and waits for its standard input to end. */
  private static final List<String> EATER =
      List.of(
          "python3",
          "-c",
          "import sys; b = b'x' * (int(sys.argv[1]) << 20); print('ate', flush=True);"
              + " sys.stdin.read()");

  @AfterEach
  void removeGroups() throws IOException {
    for (Cgroup group : Cgroup.listOwned(SUPPORT, PREFIX)) {
      group.destroy();
    }
  }

  /** A process that allocates beyond the limit is killed by the kernel, and it is counted. */
  @Test
  void limitIsEnforced() throws Exception {
    Cgroup group = create("over", OptionalLong.of(64 * MIB), OptionalInt.empty());
    Process eater = start(group, 200);
    assertThat(eater.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(eater.exitValue()).isEqualTo(128 + 9);
    assertThat(group.oomKills()).isPositive();
    group.destroy();
  }

  /** One that is moved out counts there no more, and the group can go while it lives. */
  @Test
  void movedOutOfItsGroup() throws Exception {
    Cgroup group = create("left", OptionalLong.of(128 * MIB), OptionalInt.empty());
    Process eater = start(group, 1);
    try {
      assertThat(eater.inputReader().readLine()).isEqualTo("ate");
      Cgroup.moveHere(SUPPORT, eater.pid());
      assertThat(group.processes()).isEmpty();
      group.destroy();
      assertThat(eater.isAlive()).isTrue();
    } finally {
      eater.destroyForcibly().waitFor();
    }
  }

  /** One that stays below lives, is in the group from its first page on, and is charged there. */
  @Test
  void belowTheLimitLives() throws Exception {
    Cgroup group = create("under", OptionalLong.of(128 * MIB), OptionalInt.of(64));
    Process eater = start(group, 40);
    try {
      assertThat(eater.inputReader().readLine()).isEqualTo("ate");
      assertThat(group.processes()).containsExactly(eater.pid());
      assertThat(group.memoryCurrentBytes()).isBetween(40 * MIB, 128 * MIB);
      assertThat(group.oomKills()).isZero();
      assertThatThrownBy(group::destroy).hasMessageContaining(Long.toString(eater.pid()));
    } finally {
      eater.destroyForcibly().waitFor();
    }
    group.destroy();
    group.destroy();
    assertThat(Cgroup.find(SUPPORT, group.name())).isEmpty();
  }

  /** A process can also be moved in after its start, and the limit then holds for what follows. */
  @Test
  void addedLaterIsLimitedToo() throws Exception {
    Cgroup group = create("later", OptionalLong.of(64 * MIB), OptionalInt.empty());
    Process process =
        new ProcessBuilder("python3", "-c", "import sys; sys.stdin.read(); b = b'x' * (200 << 20)")
            .start();
    group.add(process.pid());
    process.getOutputStream().close();
    assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(process.exitValue()).isEqualTo(128 + 9);
  }

  /** No more processes than allowed. */
  @Test
  void processesAreLimited() throws Exception {
    requireGroups();
    boolean canLimit =
        switch (SUPPORT) {
          case CgroupSupport.V2 v2 -> v2.pids();
          case CgroupSupport.V1 v1 -> v1.pids().isPresent();
          case CgroupSupport.None none -> false;
        };
    if (!canLimit) {
      skip("the number of processes cannot be limited: " + SUPPORT.describe());
    }
    Cgroup group = create("pids", OptionalLong.empty(), OptionalInt.of(4));
    // None of them ends before the last one was to be made; none holds the output open.
    String script = "for i in 1 2 3 4 5 6 7 8; do sleep 100 >/dev/null 2>&1 & done";
    Process crowd =
        new ProcessBuilder(group.wrap(List.of("sh", "-c", script)))
            .redirectErrorStream(true)
            .start();
    try {
      String said = new String(crowd.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertThat(crowd.waitFor()).isNotZero();
      assertThat(said).containsIgnoringCase("fork");
    } finally {
      for (long pid : group.processes()) {
        ProcessHandle.of(pid).ifPresent(ProcessHandle::destroyForcibly);
      }
      await().atMost(Duration.ofSeconds(60)).until(() -> group.processes().isEmpty());
    }
  }

  /** A later process finds a group by its name alone. */
  @Test
  void groupsAreFoundByName() throws Exception {
    Cgroup one = create("one", OptionalLong.of(64 * MIB), OptionalInt.of(10));
    Cgroup two = create("two", OptionalLong.empty(), OptionalInt.empty());
    assertThat(Cgroup.listOwned(SUPPORT, PREFIX))
        .extracting(Cgroup::name)
        .containsExactly(one.name(), two.name());
    assertThat(Cgroup.find(SUPPORT, one.name()).orElseThrow().procsFiles())
        .containsExactlyInAnyOrderElementsOf(one.procsFiles());
    assertThatThrownBy(() -> create("one", OptionalLong.empty(), OptionalInt.empty()))
        .isInstanceOf(IOException.class);
    assertThat(Cgroup.find(SUPPORT, one.name())).as("the failed one took it away").isPresent();
  }

  /** Where nothing can be limited, the reason is in the error. */
  @Test
  void noneSaysWhy() {
    assertThatThrownBy(() ->
            Cgroup.create(
                new CgroupSupport.None("nothing is mounted"),
                "forkd-x",
                OptionalLong.of(1),
                OptionalInt.empty()))
        .hasMessageContaining("nothing is mounted");
  }

  /**
   * What detection makes of hosts unlike this one; a plain folder stands for the hierarchy, so no
   * probe succeeds where the kernel would have to make files.
   */
  @Test
  void otherHostsGetAReason(@TempDir Path fake) throws Exception {
    assertThat(new CgroupDetector(List.of(), List.of("0::/")).find())
        .isInstanceOfSatisfying(
            CgroupSupport.None.class, none -> assertThat(none.reason()).contains("mounted"));
    List<String> mounts =
        List.of("30 24 0:26 / " + fake + " rw,nosuid - cgroup2 cgroup2 rw,nsdelegate");
    Files.writeString(fake.resolve("cgroup.controllers"), "cpu io pids\n");
    assertThat(new CgroupDetector(mounts, List.of("0::/user.slice")).find())
        .isInstanceOfSatisfying(
            CgroupSupport.None.class,
            none -> assertThat(none.reason()).contains("no memory controller"));
    Files.writeString(fake.resolve("cgroup.controllers"), "cpu io memory pids\n");
    assertThat(new CgroupDetector(mounts, List.of("0::/user.slice")).find())
        .isInstanceOfSatisfying(
            CgroupSupport.None.class,
            none -> assertThat(none.reason()).contains("not ours to divide").contains("root"));
    assertThat(fake.toFile().list()).containsExactly("cgroup.controllers");
  }

  /** A probe gives the daemon's answer, and takes back what the daemon would leave changed. */
  @Test
  void aProbeLeavesNoTrace(@TempDir Path fake) throws Exception {
    List<String> before = Files.readAllLines(Path.of("/proc/self/cgroup"));
    assertThat(Cgroup.probe().getClass()).isEqualTo(SUPPORT.getClass());
    assertThat(Files.readAllLines(Path.of("/proc/self/cgroup"))).isEqualTo(before);

    List<String> mounts = List.of("30 24 0:26 / " + fake + " rw - cgroup2 cgroup2 rw");
    Files.writeString(fake.resolve("cgroup.controllers"), "memory pids\n");
    Path control = Files.createFile(fake.resolve("cgroup.subtree_control"));
    new CgroupDetector(mounts, List.of("0::/")).find();
    assertThat(control).hasContent("+memory");
    Files.writeString(control, "");
    new CgroupDetector(mounts, List.of("0::/")).findAndUndo();
    assertThat(control).hasContent("-memory");
    Files.writeString(control, "memory");
    new CgroupDetector(mounts, List.of("0::/")).findAndUndo();
    assertThat(control).as("it was on before").hasContent("memory");
    assertThat(fake.toFile().list())
        .containsExactlyInAnyOrder("cgroup.controllers", "cgroup.subtree_control");
  }

  private static Process start(Cgroup group, int mib) throws IOException {
    List<String> command = new java.util.ArrayList<>(EATER);
    command.add(Integer.toString(mib));
    return new ProcessBuilder(group.wrap(command))
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start();
  }

  private static Cgroup create(String name, OptionalLong memoryLimitBytes, OptionalInt pidsLimit)
      throws IOException {
    requireGroups();
    return Cgroup.create(SUPPORT, PREFIX + name, memoryLimitBytes, pidsLimit);
  }

  private static void requireGroups() {
    if (SUPPORT instanceof CgroupSupport.None none) {
      skip("memory limits cannot be tested: " + none.reason());
    }
  }

  private static void skip(String why) {
    System.err.println("SKIPPED: " + why);
    Assumptions.abort(why);
  }
}
