package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A running sandbox saved while it goes on. */
class BranchSystemTest {
  @AfterEach
  void clean() {
    Lab.clean(Lab.engine());
  }

  private static void fill(SandboxId id) {
    Lab.eval(id, "kept = [i * i for i in range(300000)]; where = id(kept)");
    Lab.sh(id, "echo before > /root/note; sync");
  }

  /** Memory and disk of a branch are those of its moment, in every mode; the source goes on. */
  @ParameterizedTest
  @EnumSource(BranchSpec.Mode.class)
  void childrenHaveMemoryAndDisk(BranchSpec.Mode mode) {
    SandboxId source = Lab.forkOne();
    fill(source);
    Snapshot snapshot = Lab.branch(source, "b", mode);
    assertThat(snapshot.pauseMillis().orElseThrow()).isPositive();
    assertThat(snapshot.diffPhysicalBytes().isPresent()).isEqualTo(mode != BranchSpec.Mode.FULL);
    Lab.sh(source, "echo after > /root/note");
    Lab.eval(source, "kept.append(1)");
    List<SandboxId> grand = Lab.fork(new Tag("b"), 2);
    for (SandboxId id : grand) {
      assertThat(Lab.sh(id, "cat /root/note")).isEqualTo("before\n");
      assertThat(Lab.eval(id, "(len(kept), sum(kept[:1000]), id(kept) == where)"))
          .isEqualTo("(300000, 332833500, True)");
    }
    Lab.sh(grand.get(0), "echo mine > /root/note");
    assertThat(Lab.sh(grand.get(1), "cat /root/note")).isEqualTo("before\n");
    assertThat(Lab.sh(source, "cat /root/note")).isEqualTo("after\n");
    assertThat(Lab.eval(source, "len(kept)")).isEqualTo("300001");
    assertThat(Lab.eval(grand.get(0), "random.random()"))
        .isNotEqualTo(Lab.eval(grand.get(1), "random.random()"));
  }

  /** Branches in a row are each right, and so is a long line of branches of branches. */
  @Test
  void manyInARowAndDeep() {
    SandboxId source = Lab.forkOne();
    for (int i = 0; i < 5; i++) {
      Lab.eval(source, "n = " + i);
      Lab.sh(source, "echo " + i + " > /root/n");
      Lab.branch(source, "row" + i, BranchSpec.Mode.DIFF);
    }
    for (int i = 0; i < 5; i += 2) {
      SandboxId child = Lab.fork(new Tag("row" + i), 1).getFirst();
      assertThat(Lab.eval(child, "n")).isEqualTo(Integer.toString(i));
      assertThat(Lab.sh(child, "cat /root/n").strip()).isEqualTo(Integer.toString(i));
    }
    SandboxId current = source;
    for (int depth = 0; depth < 10; depth++) {
      Lab.eval(current, "n += 1");
      Lab.branch(current, "deep" + depth, BranchSpec.Mode.DIFF);
      SandboxId next = Lab.fork(new Tag("deep" + depth), 1).getFirst();
      Lab.engine().kill(current);
      current = next;
    }
    assertThat(Lab.eval(current, "n")).isEqualTo("14");
    assertThat(Lab.sh(current, "cat /root/n").strip()).isEqualTo("4");
  }

  /** More layers than QEMU should open are merged, and the disk still reads as written. */
  @Test
  void longDiskChainsAreMerged() {
    SandboxId source = Lab.forkOne();
    for (int i = 0; i < 26; i++) {
      Lab.sh(source, "echo " + i + " > /root/f" + i + "; sync");
      Lab.branch(source, "m" + i, BranchSpec.Mode.DIFF);
      if (i < 20) {
        Lab.engine().deleteSnapshot(new Tag("m" + i), DeleteMode.REFUSE);
      }
    }
    assertThat(Lab.sh(source, "cat /root/f0 /root/f13 /root/f25")).isEqualTo("0\n13\n25\n");
    SandboxId child = Lab.fork(new Tag("m25"), 1).getFirst();
    assertThat(Lab.sh(child, "cat /root/f0 /root/f13 /root/f25")).isEqualTo("0\n13\n25\n");
  }

  /** What runs in the source goes on in its children, and was frozen while it was saved. */
  @Test
  void processesGoOn() {
    SandboxId source = Lab.forkOne();
    Lab.sh(source, "(while :; do echo t >> /tmp/ticks; sleep 0.05; done) >/dev/null 2>&1 &");
    await().atMost(Lab.PATIENCE).until(() -> ticks(source) > 0);
    Lab.branch(source, "b", BranchSpec.Mode.DIFF);
    SandboxId child = Lab.fork(new Tag("b"), 1).getFirst();
    for (SandboxId id : List.of(source, child)) {
      int first = ticks(id);
      await().atMost(Lab.PATIENCE).until(() -> ticks(id) > first);
    }
  }

  private static int ticks(SandboxId id) {
    return Integer.parseInt(Lab.sh(id, "cat /tmp/ticks 2>/dev/null | wc -l").strip());
  }

  /** Of two branches to one tag at once exactly one is made; a taken tag is refused. */
  @Test
  void oneTagOnce() throws Exception {
    SandboxId source = Lab.forkOne();
    List<Future<Snapshot>> futures = new ArrayList<>();
    try (ExecutorService pool = Executors.newFixedThreadPool(3)) {
      for (int i = 0; i < 3; i++) {
        futures.add(pool.submit(() -> Lab.branch(source, "same", BranchSpec.Mode.DIFF)));
      }
    }
    List<Throwable> failures = new ArrayList<>();
    for (Future<Snapshot> future : futures) {
      try {
        future.get();
      } catch (java.util.concurrent.ExecutionException e) {
        failures.add(e.getCause());
      }
    }
    assertThat(failures).hasSize(2).allSatisfy(e -> hasCode(e, ErrorCode.ALREADY_EXISTS));
    assertThatThrownBy(() -> Lab.branch(source, "same", BranchSpec.Mode.DIFF))
        .satisfies(e -> hasCode(e, ErrorCode.ALREADY_EXISTS));
    assertThat(Lab.eval(source, "1 + 1")).isEqualTo("2");
  }

  private static void hasCode(Throwable e, ErrorCode code) {
    assertThat(e)
        .isInstanceOfSatisfying(
            ForkdException.class, known -> assertThat(known.code()).isEqualTo(code));
  }

  /** A branch of a sandbox without a VMM is refused and leaves nothing behind. */
  @Test
  void deadSource() throws Exception {
    SandboxId source = Lab.forkOne();
    Lab.eval(source, "1");
    int pid = Lab.engine().sandbox(source).pid().orElseThrow();
    ProcessHandle.of(pid).orElseThrow().destroyForcibly();
    ProcessHandle.of(pid).ifPresent(process -> process.onExit().join());
    assertThatThrownBy(() -> Lab.branch(source, "dead", BranchSpec.Mode.DIFF))
        .isInstanceOf(ForkdException.class);
    assertThat(Lab.engine().snapshots()).extracting(Snapshot::tag).containsOnly(Lab.PYTHON);
    assertThat(Lab.contents("snapshots")).containsExactly("python");
    assertThat(Lab.unfinished()).isEmpty();
  }

  /** A parent_tag that is not the source's is refused; a right one protects the parent. */
  @Test
  void parentTag() {
    SandboxId source = Lab.forkOne();
    assertThatThrownBy(() ->
            Lab.engine()
                .branch(
                    source,
                    new BranchSpec(
                        Optional.of(new Tag("x")),
                        BranchSpec.Mode.DIFF,
                        Optional.of(new Tag("other")))))
        .satisfies(e -> hasCode(e, ErrorCode.INVALID_ARGUMENT));
    Lab.branch(source, "p", BranchSpec.Mode.DIFF);
    SandboxId child = Lab.fork(new Tag("p"), 1).getFirst();
    Lab.engine()
        .branch(
            child,
            new BranchSpec(
                Optional.of(new Tag("q")), BranchSpec.Mode.DIFF, Optional.of(new Tag("p"))));
    assertThatThrownBy(() -> Lab.engine().deleteSnapshot(new Tag("p"), DeleteMode.REFUSE))
        .hasMessageContaining("1 dependent (q)");
    Lab.engine().deleteSnapshot(new Tag("p"), DeleteMode.FORCE);
    SandboxId grand = Lab.fork(new Tag("q"), 1).getFirst();
    assertThat(Lab.eval(grand, "1 + 1")).isEqualTo("2");
  }

  /** A snapshot outlives what it was branched from: the source, and the parent it shares with. */
  @Test
  void independentOfItsSource() {
    SandboxId source = Lab.forkOne();
    fill(source);
    Lab.branch(source, "one", BranchSpec.Mode.DIFF);
    SandboxId child = Lab.fork(new Tag("one"), 1).getFirst();
    Lab.branch(child, "two", BranchSpec.Mode.DIFF);
    Lab.engine().kill(source);
    Lab.engine().kill(child);
    Lab.engine().deleteSnapshot(new Tag("one"), DeleteMode.REFUSE);
    SandboxId grand = Lab.fork(new Tag("two"), 1).getFirst();
    assertThat(Lab.eval(grand, "len(kept)")).isEqualTo("300000");
    assertThat(Lab.sh(grand, "cat /root/note")).isEqualTo("before\n");
    Lab.branch(grand, "three", BranchSpec.Mode.FULL);
  }

  /** Damaged files are named, the rest goes on, and the damaged snapshot can be removed. */
  @Test
  void damage() throws Exception {
    SandboxId source = Lab.forkOne();
    Lab.branch(source, "bad", BranchSpec.Mode.DIFF);
    Path devices = Lab.DATA_DIR.resolve("snapshots/bad/devices.bin");
    Files.write(devices, new byte[] {1, 2, 3});
    assertThatThrownBy(() -> Lab.fork(new Tag("bad"), 1))
        .satisfies(e -> hasCode(e, ErrorCode.FAILED_PRECONDITION))
        .hasMessageContainingAll("is not bootable", "devices.bin");
    Files.writeString(Lab.DATA_DIR.resolve("snapshots/bad/snapshot.json"), "{ not json");
    Lab.engine().kill(source);
    Lab.release();
    Snapshot shown = Lab.engine().snapshot(new Tag("bad"));
    assertThat(shown.status()).isEqualTo(Snapshot.Status.FAILED);
    assertThat(shown.warning().orElseThrow()).contains("snapshot.json");
    assertThatThrownBy(() -> Lab.fork(new Tag("bad"), 1))
        .satisfies(e -> hasCode(e, ErrorCode.FAILED_PRECONDITION))
        .hasMessageContaining("is not bootable");
    Lab.engine().deleteSnapshot(new Tag("bad"), DeleteMode.REFUSE);
    assertThat(Lab.contents("ram")).hasSize(1);
    assertThat(Lab.eval(Lab.forkOne(), "1 + 1")).isEqualTo("2");
  }
}
