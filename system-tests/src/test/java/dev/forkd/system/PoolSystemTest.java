package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.ForkSpec;
import dev.forkd.engine.PoolView;
import dev.forkd.engine.SandboxView;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.OptionalLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Children that are forked before somebody asks for them. */
@Timeout(300)
class PoolSystemTest {
  @BeforeEach
  void bake() {
    Lab.clean(Lab.engine());
  }

  @AfterEach
  void nothingIsLeft() throws Exception {
    Lab.engine().pools().set(Lab.PYTHON, 0, false);
    Lab.clean(Lab.engine());
    // A child that is being made while the pool is switched off ends as soon as it is there.
    await()
        .atMost(Duration.ofSeconds(60))
        .untilAsserted(() -> {
          assertThat(Lab.contents("run")).isEmpty();
          assertThat(Lab.vmms()).isEmpty();
          assertThat(Lab.unfinished()).isEmpty();
        });
  }

  private static void awaitReady(Tag tag, int count) {
    await()
        .atMost(Duration.ofSeconds(90))
        .until(() -> Lab.engine().pools().get(tag).ready() == count);
  }

  /**
   * A child that waits is in no list. Handed out, it is a sandbox like any other: as old as its
   * hand-out, with a clock that is right, an identity of its own, and verified when it is
   * prewarmed. The pool fills again.
   */
  @Test
  void prewarmedChildrenAreHandedOut() throws Exception {
    var engine = Lab.engine();
    engine.pools().set(Lab.PYTHON, 3, true);
    awaitReady(Lab.PYTHON, 3);
    assertThat(engine.sandboxes()).isEmpty();
    assertThat(engine.stats().sandboxes()).isZero();
    assertThat(Lab.vmms()).hasSize(3);
    Thread.sleep(2500);
    long hits = engine.stats().pool().hits();
    long before = System.currentTimeMillis() / 1000;
    List<SandboxId> ids = Lab.fork(Lab.PYTHON, 2);
    long after = System.currentTimeMillis() / 1000;
    assertThat(engine.stats().pool().hits()).isEqualTo(hits + 2);
    HashSet<String> hosts = new HashSet<>();
    for (SandboxId id : ids) {
      SandboxView view = engine.sandbox(id);
      assertThat(view.createdAtUnix()).isBetween(before, after);
      assertThat(view.certificate().state()).isEqualTo(Certificate.State.VERIFIED);
      double asked = System.currentTimeMillis() / 1000.0;
      double clock = Double.parseDouble(Lab.eval(id, "__import__('time').time()"));
      assertThat(clock).isBetween(asked - 1, System.currentTimeMillis() / 1000.0 + 1);
      hosts.add(Lab.sh(id, "hostname; cat /etc/machine-id; od -An -N8 -tx1 /dev/urandom"));
    }
    assertThat(hosts).hasSize(2);
    assertThat(engine.sandboxes()).hasSize(2);
    awaitReady(Lab.PYTHON, 3);
  }

  /** What a pool lacks is forked; what it cannot give is not taken from it. */
  @Test
  void theRestIsForked() {
    var engine = Lab.engine();
    PoolView off = engine.pools().get(Lab.PYTHON);
    assertThat(off).isEqualTo(new PoolView(Lab.PYTHON, 0, false, 0, 0));
    engine.pools().set(Lab.PYTHON, 2, false);
    awaitReady(Lab.PYTHON, 2);
    var before = engine.stats().pool();
    // A prewarmed child is asked for, and these are not.
    List<SandboxId> warm =
        Lab.started(
            engine.fork(
                new ForkSpec(
                    Lab.PYTHON, 1, OptionalLong.empty(), true, false, false, "emulation")));
    assertThat(engine.stats().pool().misses()).isEqualTo(before.misses() + 1);
    assertThat(Lab.eval(warm.getFirst(), "6 * 7")).isEqualTo("42");
    awaitReady(Lab.PYTHON, 2);
    List<SandboxId> more = Lab.fork(Lab.PYTHON, 4);
    var after = engine.stats().pool();
    assertThat(after.hits() - before.hits()).isEqualTo(2);
    assertThat(after.misses() - before.misses()).isEqualTo(3);
    assertThat(new HashSet<>(more)).hasSize(4);
    for (SandboxId id : more) {
      assertThat(Lab.eval(id, "6 * 7")).isEqualTo("42");
    }
  }

  /** A size that cannot fit is refused with the arithmetic, an impossible one as such. */
  @Test
  void impossiblePools() {
    var pools = Lab.engine().pools();
    assertThatThrownBy(() -> pools.set(Lab.PYTHON, 1001, false))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT));
    assertThatThrownBy(() -> pools.set(new Tag("nonesuch"), 1, false))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND));
    assertThat(pools.list()).isEmpty();
  }

  /** A child whose VMM dies while it waits is not handed out, and another one takes its place. */
  @Test
  void deadChildrenAreReplaced() {
    Lab.engine().pools().set(Lab.PYTHON, 1, false);
    awaitReady(Lab.PYTHON, 1);
    List<ProcessHandle> first = Lab.vmms();
    first.forEach(ProcessHandle::destroyForcibly);
    await()
        .atMost(Duration.ofSeconds(60))
        .until(() -> Lab.vmms().size() == 1 && !Lab.vmms().equals(first));
    awaitReady(Lab.PYTHON, 1);
    assertThat(Lab.eval(Lab.forkOne(), "6 * 7")).isEqualTo("42");
  }

  /** A pool goes with its snapshot. */
  @Test
  void deletingTheSnapshotEndsThePool() {
    var engine = Lab.engine();
    SandboxId source = Lab.forkOne();
    Lab.eval(source, "state = 41");
    Lab.branch(source, "pooled", BranchSpec.Mode.DIFF);
    Tag tag = new Tag("pooled");
    engine.pools().set(tag, 2, true);
    awaitReady(tag, 2);
    SandboxId child = Lab.fork(tag, 1).getFirst();
    assertThat(Lab.eval(child, "state + 1")).isEqualTo("42");
    engine.deleteSnapshot(tag, DeleteMode.REFUSE);
    assertThat(engine.pools().list()).isEmpty();
    await().atMost(Duration.ofSeconds(60)).until(() -> Lab.vmms().size() == 2);
    assertThat(Lab.eval(child, "state + 1")).isEqualTo("42");
  }

  /**
   * The setting outlives the daemon, however it ends; its children do not, and none of them is
   * mistaken for a sandbox.
   */
  @Test
  void thePoolSurvivesAndItsChildrenDoNot() throws Exception {
    for (boolean killed : new boolean[] {false, true}) {
      try (Daemon daemon = Daemon.start();
          Forkd forkd = daemon.client()) {
        forkd.snapshot("python").setPool(2, true);
        await()
            .atMost(Duration.ofSeconds(90))
            .until(() -> forkd.snapshot("python").pool().ready() == 2);
        assertThat(forkd.sandboxes()).isEmpty();
        if (killed) {
          daemon.kill();
          assertThat(Lab.vmms()).hasSizeGreaterThanOrEqualTo(2);
        } else {
          daemon.terminate();
          assertThat(Lab.vmms()).isEmpty();
        }
      }
      try (Daemon daemon = Daemon.start();
          Forkd forkd = daemon.client()) {
        assertThat(forkd.sandboxes()).isEmpty();
        assertThat(forkd.pools()).hasSize(1);
        await()
            .atMost(Duration.ofSeconds(90))
            .until(() -> forkd.snapshot("python").pool().ready() == 2);
        assertThat(Lab.vmms()).hasSize(2);
        try (Sandbox child = forkd.fork("python")) {
          assertThat(child.eval("6 * 7").result()).contains("42");
        }
        assertThat(forkd.metrics()).contains("forkd_pool_hits_total 1\n");
        forkd.snapshot("python").setPool(0, false);
        await().atMost(Duration.ofSeconds(60)).until(() -> Lab.vmms().isEmpty());
      }
    }
  }
}
