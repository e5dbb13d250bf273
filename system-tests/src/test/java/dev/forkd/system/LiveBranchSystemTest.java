package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Branches whose memory is copied while the source runs on. */
class LiveBranchSystemTest {
  private static final int BRANCHES = System.getenv("FORKD_TEST_ALL") == null ? 5 : 50;

  @AfterEach
  void clean() {
    Lab.clean(Lab.engine());
  }

  private static SandboxId busy() throws IOException {
    SandboxId source = Lab.forkOne();
    byte[] program;
    try (var resource = LiveBranchSystemTest.class.getResourceAsStream("/torn.py")) {
      program = java.util.Objects.requireNonNull(resource).readAllBytes();
    }
    Lab.engine()
        .files(source)
        .write(
            "/root/torn.py",
            new ByteArrayInputStream(program),
            OptionalInt.empty(),
            Optional.empty());
    Lab.sh(source, "python3 /root/torn.py >/root/out 2>&1 &");
    await()
        .atMost(Duration.ofSeconds(60))
        .until(() -> Lab.sh(source, "test -s /root/log && echo 1 || true").equals("1\n"));
    return source;
  }

  private static String verdict(SandboxId id) {
    Lab.sh(id, "rm -f /root/verdict; kill -USR1 $(cat /root/pid)");
    await()
        .atMost(Duration.ofSeconds(60))
        .until(() -> Lab.sh(id, "test -e /root/verdict && echo 1 || true").equals("1\n"));
    return Lab.sh(id, "cat /root/verdict");
  }

  private static BranchSpec live(String tag, boolean untilReady) {
    return new BranchSpec(
        Optional.of(new Tag(tag)), BranchSpec.Mode.LIVE, Optional.empty(), untilReady);
  }

  /**
   * A guest that rewrites memory and disk as fast as it can is branched again and again. In every
   * child the writer goes on and finds all its blocks, and its log on disk, of one moment.
   */
  @Test
  @Timeout(600) // Its guest is as busy as can be, and a machine with other work is slow.
  void noTornPage() throws Exception {
    SandboxId source = busy();
    for (int i = 0; i < BRANCHES; i++) {
      Snapshot snapshot = Lab.engine().branch(source, live("live" + i, true));
      assertThat(snapshot.warning()).isEmpty();
      assertThat(snapshot.branchMode()).contains("live");
      SandboxId child = Lab.fork(snapshot.tag(), 1).getFirst();
      assertThat(verdict(child)).as("branch %d", i).startsWith("ok ");
      Lab.engine().kill(child);
      Lab.engine().deleteSnapshot(snapshot.tag(), DeleteMode.REFUSE);
    }
    assertThat(verdict(source)).startsWith("ok ");
  }

  /** The same from the files alone, as after a restart of the daemon. */
  @Test
  void whatIsStoredIsOfOneMomentToo() throws Exception {
    SandboxId source = busy();
    Lab.engine().branch(source, live("stored", true));
    Lab.engine().kill(source);
    Lab.release();
    assertThat(verdict(Lab.fork(new Tag("stored"), 1).getFirst())).startsWith("ok ");
  }

  /** Without waiting the answer comes when the source runs on, and the snapshot is ready later. */
  @Test
  void withoutWaiting() {
    SandboxId source = Lab.forkOne();
    Lab.eval(source, "data = os.urandom(30 << 20); before = hash(data)");
    Snapshot begun = Lab.engine().branch(source, live("later", false));
    assertThat(begun.status()).isEqualTo(Snapshot.Status.WRITING);
    assertThat(begun.pauseMillis()).isPresent();
    assertThat(begun.branchedFrom()).contains(source);
    Lab.eval(source, "data = None");
    // Nothing that happens to the source now can harm it.
    Lab.engine().kill(source);
    awaitReady("later");
    SandboxId child = Lab.fork(new Tag("later"), 1).getFirst();
    assertThat(Lab.eval(child, "hash(data) == before")).isEqualTo("True");
  }

  private static void awaitReady(String tag) {
    await()
        .atMost(Duration.ofSeconds(60))
        .until(() -> Lab.engine().snapshot(new Tag(tag)).status() == Snapshot.Status.READY);
  }

  /** Deleted while it is written, or while it is not yet, a snapshot leaves nothing. */
  @Test
  void deletedWhileItIsWritten() throws Exception {
    SandboxId source = Lab.forkOne();
    Lab.eval(source, "data = os.urandom(60 << 20)");
    for (int i = 0; i < 8; i++) {
      Lab.engine().branch(source, live("doomed", false));
      assertThatThrownBy(() -> Lab.engine().branch(source, live("doomed", false)))
          .isInstanceOf(ForkdException.class)
          .hasMessageContaining("doomed");
      Lab.engine().deleteSnapshot(new Tag("doomed"), DeleteMode.REFUSE);
      assertThat(Lab.engine().snapshots()).noneMatch(s -> s.tag().equals(new Tag("doomed")));
    }
    assertThat(Lab.eval(source, "len(data)")).isEqualTo(Integer.toString(60 << 20));
    Lab.engine().kill(source);
    assertThat(Lab.contents("ram")).hasSize(1);
    assertThat(Lab.unfinished()).isEmpty();
    assertThat(Lab.contents("snapshots")).containsExactly("python");
  }

  /** What children inherited from a branch is not stored again by their own branches. */
  @Test
  void ownPagesOnly() {
    SandboxId source = Lab.forkOne();
    Lab.eval(source, "data = os.urandom(40 << 20)");
    Snapshot parent = Lab.branch(source, "big", BranchSpec.Mode.LIVE);
    assertThat(parent.diffPhysicalBytes().orElseThrow()).isGreaterThan(40L << 20);
    SandboxId child = Lab.fork(parent.tag(), 1).getFirst();
    Lab.eval(child, "mine = os.urandom(2 << 20)");
    Snapshot own = Lab.branch(child, "small", BranchSpec.Mode.LIVE);
    assertThat(own.memoryBytes()).isBetween(2L << 20, 20L << 20);
    Lab.engine().kill(child);
    Lab.engine().kill(source);
    Lab.release();
    List<SandboxId> grand = Lab.fork(own.tag(), 2);
    assertThat(Lab.eval(grand.getFirst(), "(len(data), len(mine))"))
        .isEqualTo("(41943040, 2097152)");
  }
}
