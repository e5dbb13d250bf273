package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.fault.FaultPoint;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.Snapshot;
import dev.forkd.sdk.Workspace;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Workspaces of daemons that end in the middle of their work, with real VMs that live on. */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class WorkspaceRestartTest {
  @BeforeEach
  void bake() {
    Lab.clean(Lab.engine());
  }

  @AfterEach
  void nothingIsLeft() throws Exception {
    Lab.clean(Lab.engine());
    assertThat(Lab.vmms()).isEmpty();
    assertThat(Lab.contents("run")).isEmpty();
    assertThat(Lab.contents("snapshots")).containsExactly("python");
    assertThat(Lab.contents("ram")).hasSize(1);
    assertThat(Lab.unfinished()).isEmpty();
  }

  /** A running workspace is adopted and runs on; a suspended one stays suspended. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void runningStaysRunning(boolean killed) throws Exception {
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      forkd.createWorkspace("run", "python").sandbox().eval("n = 1");
      Workspace away = forkd.createWorkspace("away", "python");
      away.sandbox().eval("n = 2");
      away.suspendDiff();
      if (killed) {
        daemon.kill();
      } else {
        daemon.terminate();
      }
    }
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      Workspace run = forkd.workspace("run");
      assertThat(run.info().status()).isEqualTo("running");
      assertThat(run.sandbox().eval("n").result()).contains("1");
      assertThat(forkd.workspace("away").info().status()).isEqualTo("suspended");
      assertThat(forkd.workspace("away").resume().sandbox().eval("n").result()).contains("2");
      run.suspendDiff();
      assertThat(run.resume().sandbox().eval("n").result()).contains("1");
    }
  }

  /**
   * A daemon that ends at any step of a second suspension: what was in memory and on disk is in the
   * sandbox that lives on or in the state it was saved as, and nothing else is left.
   */
  @Test
  void endsWhileSuspending() throws Exception {
    endsWhileSuspending("saved", "suspended", "finished");
  }

  /** The same at the other steps; the unit tests show each with sandboxes that are numbers. */
  @ParameterizedTest
  @EnabledIfEnvironmentVariable(named = "FORKD_TEST_ALL", matches = "1")
  @CsvSource({
    "begun, running, undone",
    "switched, suspended, finished",
    "killed, suspended, finished",
    "removed, suspended, finished",
    "done, suspended, ''"
  })
  void endsWhileSuspending(String step, String status, String settled) throws Exception {
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      Workspace workspace = forkd.createWorkspace("w", "python");
      workspace.sandbox().eval("n = 1");
      workspace.suspendDiff();
      workspace.resume();
      Sandbox sandbox = workspace.sandbox();
      sandbox.eval("n = 2");
      sandbox.exec("sh", "-c", "echo 2 > /root/n");
    }
    try (Daemon daemon = Daemon.haltingAt("workspace.suspend." + step);
        Forkd forkd = daemon.client()) {
      Workspace workspace = forkd.workspace("w");
      assertThatThrownBy(workspace::suspendDiff).isInstanceOf(ForkdApiException.class);
      assertThat(daemon.awaitEnd()).isEqualTo(FaultPoint.HALTED);
    }
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      Workspace workspace = forkd.workspace("w");
      assertThat(workspace.info().status()).isEqualTo(status);
      assertThat(forkd.recovery().settled().stream().filter(s -> s.contains("workspace")).toList())
          .hasSize(settled.isEmpty() ? 0 : 1)
          .allSatisfy(s -> assertThat(s).startsWith(settled));
      String state = workspace.info().currentStateTag().orElseThrow();
      assertThat(forkd.snapshots()).extracting(Snapshot::tag).containsOnly("python", state);
      assertThat(forkd.sandboxes()).hasSize(status.equals("running") ? 1 : 0);
      if (!status.equals("running")) {
        workspace.resume();
      }
      Sandbox sandbox = workspace.sandbox();
      assertThat(sandbox.eval("n").result()).contains("2");
      assertThat(sandbox.exec("cat", "/root/n").stdout()).isEqualTo("2\n");
      workspace.suspendDiff();
      assertThat(workspace.resume().sandbox().eval("n").result()).contains("2");
    }
  }

  /** The same for what makes and removes sandboxes. */
  @ParameterizedTest
  @EnabledIfEnvironmentVariable(named = "FORKD_TEST_ALL", matches = "1")
  @CsvSource({
    "create.claiming, create, ''",
    "create.forked, create, running",
    "resume.claiming, resume, suspended",
    "resume.forked, resume, running",
    "resume.done, resume, running",
    "delete.begun, delete, ''",
    "delete.killed, delete, ''",
    "delete.removed, delete, ''"
  })
  void endsWhileStartingOrDeleting(String step, String change, String status) throws Exception {
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      if (!change.equals("create")) {
        Workspace workspace = forkd.createWorkspace("w", "python");
        workspace.sandbox().eval("n = 1");
        workspace.suspendDiff();
        if (change.equals("delete")) {
          workspace.resume();
        }
      }
    }
    try (Daemon daemon = Daemon.haltingAt("workspace." + step);
        Forkd forkd = daemon.client()) {
      assertThatThrownBy(
              () -> {
                switch (change) {
                  case "create" -> forkd.createWorkspace("w", "python");
                  case "resume" -> forkd.workspace("w").resume();
                  default -> forkd.workspace("w").delete();
                }
              })
          .isInstanceOf(ForkdApiException.class);
      assertThat(daemon.awaitEnd()).isEqualTo(FaultPoint.HALTED);
    }
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      List<Workspace> all = forkd.workspaces();
      assertThat(all)
          .extracting(w -> w.info().status())
          .isEqualTo(status.isEmpty() ? List.of() : List.of(status));
      assertThat(forkd.sandboxes()).hasSize(status.equals("running") ? 1 : 0);
      if (all.isEmpty()) {
        assertThat(forkd.snapshots()).extracting(Snapshot::tag).containsExactly("python");
        assertThat(forkd.createWorkspace("w", "python").sandbox().eval("1").result()).contains("1");
        return;
      }
      if (status.equals("suspended")) {
        all.getFirst().resume();
      }
      String n = change.equals("create") ? "0" : "1";
      assertThat(all.getFirst().sandbox().eval("globals().get('n', 0)").result()).contains(n);
    }
  }

  /** A daemon killed while it saves, and its VMs with it, as when the machine loses its power. */
  @Test
  void powerLossWhileSuspending() throws Exception {
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      Workspace workspace = forkd.createWorkspace("w", "python");
      workspace.sandbox().eval("n = 1");
      workspace.suspendDiff();
      workspace.resume().sandbox().eval("n = 2");
    }
    try (Daemon daemon = Daemon.haltingAt("workspace.suspend.saved");
        Forkd forkd = daemon.client()) {
      assertThatThrownBy(forkd.workspace("w")::suspendDiff).isInstanceOf(ForkdApiException.class);
      daemon.awaitEnd();
    }
    for (ProcessHandle vmm : Lab.vmms()) {
      vmm.destroyForcibly();
      vmm.onExit().join();
    }
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      Workspace workspace = forkd.workspace("w");
      assertThat(workspace.info().status()).isEqualTo("suspended");
      assertThat(workspace.resume().sandbox().eval("n").result()).contains("2");
      for (ProcessHandle vmm : Lab.vmms()) {
        vmm.destroyForcibly();
        vmm.onExit().join();
      }
    }
    try (Daemon daemon = Daemon.start();
        Forkd forkd = daemon.client()) {
      Workspace workspace = forkd.workspace("w");
      assertThat(workspace.info().status()).isEqualTo("stale");
      assertThat(workspace.resume().sandbox().eval("n").result()).contains("2");
    }
  }
}
