package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.api.rest.WorkspaceInfo;
import dev.forkd.http.TestDaemon.Answer;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.ForkdApiException;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.Snapshot;
import dev.forkd.sdk.Workspace;
import dev.forkd.testkit.FakeEngine;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The workspace routes answer what the published clients expect, and the Java client uses them. */
class WorkspaceRestTest {
  private static final String ALL = "/v1/workspaces";
  private static final String ONE = ALL + "/w";

  @TempDir Path folder;
  private TestDaemon daemon;

  @BeforeEach
  void start() {
    daemon = new TestDaemon(new FakeEngine().withTemplate("python"), folder);
  }

  @AfterEach
  void stop() {
    assertThat(daemon.get("/healthz").status()).isEqualTo(200);
    daemon.close();
  }

  private Answer create(String more) {
    return daemon.post(ALL, "{\"name\":\"w\",\"snapshot_tag\":\"python\"" + more + "}");
  }

  private static Answer refused(Answer answer, int status, String words) {
    assertThat(answer.status()).as(answer.body()).isEqualTo(status);
    assertThat(answer.error().error()).contains(words);
    return answer;
  }

  @Test
  void aLifeFromCreationToDeletion() {
    Answer created = create(",\"memory_limit_mib\":256");
    assertThat(created.status()).isEqualTo(201);
    WorkspaceInfo first = created.as(WorkspaceInfo.class);
    assertThat(first.status()).isEqualTo("running");
    assertThat(first.id()).isEqualTo("ws-" + first.liveSandboxId().orElseThrow());
    assertThat(first.sourceSnapshotTag()).isEqualTo("python");
    assertThat(created.body()).doesNotContain("current_state_tag", "last_branch_memory_path");
    assertThat(daemon.get("/v1/sandboxes/" + first.liveSandboxId().orElseThrow()).status())
        .isEqualTo(200);

    Answer suspended = daemon.post(ONE + "/suspend", "{}");
    assertThat(suspended.status()).isEqualTo(200);
    WorkspaceInfo saved = suspended.as(WorkspaceInfo.class);
    assertThat(saved.status()).isEqualTo("suspended");
    assertThat(saved.currentStateTag()).contains("ws-w-state");
    assertThat(suspended.body()).doesNotContain("live_sandbox_id");
    assertThat(daemon.get("/v1/snapshots/ws-w-state").as(SnapshotInfo.class).branchMode())
        .contains("full");
    assertThat(daemon.engine.counts()).isEqualTo(Map.of("snapshots", 2, "sandboxes", 0));

    WorkspaceInfo resumed = daemon.post(ONE + "/resume").as(WorkspaceInfo.class);
    assertThat(resumed.status()).isEqualTo("running");
    assertThat(resumed.id()).isEqualTo(first.id());
    SandboxInfo sandbox =
        daemon.get("/v1/sandboxes/" + resumed.liveSandboxId().orElseThrow()).as(SandboxInfo.class);
    assertThat(sandbox.snapshotTag()).isEqualTo("ws-w-state");
    assertThat(sandbox.memoryLimitMib()).isEqualTo(OptionalLong.of(256));
    assertThat(daemon.get(ONE).as(WorkspaceInfo.class)).isEqualTo(resumed);

    WorkspaceInfo again = daemon.post(ONE + "/suspend", "{\"diff\":true}").as(WorkspaceInfo.class);
    assertThat(daemon.get("/v1/snapshots/" + again.currentStateTag().orElseThrow()).body())
        .contains("\"branch_mode\":\"diff\"");
    assertThat(Json.readList(daemon.get(ALL).response().body(), WorkspaceInfo.class))
        .containsExactly(again);
    assertThat(daemon.delete(ONE).status()).isEqualTo(204);
    assertThat(daemon.engine.counts()).isEqualTo(Map.of("snapshots", 1, "sandboxes", 0));
    assertThat(daemon.get(ALL).body()).isEqualTo("[]");
  }

  @Test
  void refusalsHaveTheCodesThatClientsKnow() {
    refused(daemon.get(ONE), 404, "'w'");
    refused(daemon.delete(ONE), 404, "'w'");
    refused(daemon.post(ONE + "/resume"), 404, "'w'");
    refused(daemon.post(ONE + "/suspend", "{}"), 404, "'w'");
    refused(daemon.get(ALL + "/a%20b"), 404, "'a b'");
    refused(daemon.post(ALL, "{\"name\":\"a b\",\"snapshot_tag\":\"python\"}"), 400, "1-64 chars");
    refused(
        daemon.post(ALL, "{\"name\":\"" + "n".repeat(65) + "\",\"snapshot_tag\":\"python\"}"),
        400,
        "1-64 chars");
    refused(daemon.post(ALL, "{\"name\":\"w\",\"snapshot_tag\":\"a b\"}"), 400, "1-64 chars");
    refused(daemon.post(ALL, "{\"name\":\"w\",\"snapshot_tag\":\"nope\"}"), 404, "nope");
    refused(daemon.post(ALL, "{\"name\":\"w\"}"), 422, "snapshot_tag");
    refused(daemon.post(ALL, "{\"name\":7,\"snapshot_tag\":\"python\"}"), 422, "name");
    refused(daemon.post(ALL, "{"), 400, "JSON");
    refused(create(",\"memory_limit_mib\":0"), 400, "memory_limit_mib");
    refused(create(",\"per_child_netns\":true"), 501, "per_child_netns");
    assertThat(daemon.engine.counts()).containsEntry("sandboxes", 0);
    assertThat(create("").status()).isEqualTo(201);
    refused(create(""), 409, "exists");
    refused(daemon.post(ONE + "/resume"), 400, "runs already");
    refused(daemon.post(ONE + "/suspend"), 415, "JSON");
    refused(daemon.post(ONE + "/suspend", ""), 400, "empty");
    refused(daemon.post(ONE + "/suspend", "{\"diff\":1}"), 422, "diff");
    assertThat(daemon.post(ONE + "/suspend", "{}").status()).isEqualTo(200);
    refused(daemon.post(ONE + "/suspend", "{}"), 400, "suspended");
    assertThat(daemon.send(daemon.request(ONE).PUT(noBody())).status()).isEqualTo(405);
  }

  private static java.net.http.HttpRequest.BodyPublisher noBody() {
    return java.net.http.HttpRequest.BodyPublishers.noBody();
  }

  @Test
  void aLostSandboxMakesItStale() {
    WorkspaceInfo created = create("").as(WorkspaceInfo.class);
    daemon.delete("/v1/sandboxes/" + created.liveSandboxId().orElseThrow());
    WorkspaceInfo stale = daemon.get(ONE).as(WorkspaceInfo.class);
    assertThat(stale.status()).isEqualTo("stale");
    assertThat(stale.liveSandboxId()).isEmpty();
    refused(daemon.post(ONE + "/suspend", "{}"), 404, "killed");
    WorkspaceInfo resumed = daemon.post(ONE + "/resume").as(WorkspaceInfo.class);
    assertThat(resumed.status()).isEqualTo("running");
    daemon.engine.breakSandbox(
        new SandboxId(resumed.liveSandboxId().orElseThrow()), "its VMM died (signal 9)");
    assertThat(daemon.get(ONE).as(WorkspaceInfo.class).status()).isEqualTo("stale");
  }

  /** A failed suspension is passed on with its code, and the workspace runs on. */
  @Test
  void aFailedSuspensionLeavesItRunning() {
    create("");
    daemon.engine.duringBranch(() -> {
      throw new ForkdException(ErrorCode.RESOURCE_EXHAUSTED, "the disk is full");
    });
    refused(daemon.post(ONE + "/suspend", "{}"), 503, "the disk is full");
    assertThat(daemon.get(ONE).as(WorkspaceInfo.class).status()).isEqualTo("running");
    assertThat(daemon.engine.counts()).isEqualTo(Map.of("snapshots", 1, "sandboxes", 1));
  }

  @Test
  void ofTwoRequestsAtOnceOneIsRefused() throws Exception {
    create("");
    CountDownLatch saving = new CountDownLatch(1);
    CountDownLatch go = new CountDownLatch(1);
    daemon.engine.duringBranch(() -> {
      saving.countDown();
      try {
        assertThat(go.await(40, TimeUnit.SECONDS)).isTrue();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    });
    CompletableFuture<Answer> first =
        CompletableFuture.supplyAsync(() -> daemon.post(ONE + "/suspend", "{}"));
    assertThat(saving.await(40, TimeUnit.SECONDS)).isTrue();
    for (String change : List.of("/suspend", "/resume")) {
      refused(daemon.post(ONE + change, "{}"), 409, "another request");
    }
    refused(daemon.delete(ONE), 409, "another request");
    go.countDown();
    assertThat(first.get(40, TimeUnit.SECONDS).status()).isEqualTo(200);
  }

  @Test
  void aStateIsNotDeletedByItsTag() {
    create("");
    daemon.post(ONE + "/suspend", "{}");
    refused(daemon.delete("/v1/snapshots/ws-w-state"), 409, "workspace 'w'");
    refused(daemon.delete("/v1/snapshots/ws-w-state?cascade=true"), 409, "workspace 'w'");
    assertThat(daemon.delete("/v1/snapshots/ws-w-state?force=true").status()).isEqualTo(204);
    assertThat(daemon.get(ONE).body()).doesNotContain("current_state_tag");
  }

  @Test
  void theJavaClient() {
    try (Forkd forkd = Forkd.connect(daemon.url(), TestDaemon.TOKEN)) {
      Workspace workspace = forkd.createWorkspace("w", "python");
      assertThat(workspace.sandbox().eval("1+1").result()).contains("2");
      String first = workspace.sandbox().id();
      Workspace suspended = workspace.suspendDiff();
      assertThat(suspended.info().status()).isEqualTo("suspended");
      assertThatThrownBy(suspended::sandbox)
          .isInstanceOfSatisfying(
              ForkdApiException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION);
                assertThat(e.message()).contains("'w' is suspended", "resume");
              });
      Sandbox second = suspended.resume().sandbox();
      assertThat(second.id()).isNotEqualTo(first);
      assertThat(forkd.workspaces()).extracting(Workspace::name).containsExactly("w");
      assertThat(forkd.workspace("w").info().status()).isEqualTo("running");
      assertThat(workspace.suspend().refresh().status()).isEqualTo("suspended");
      workspace.delete();
      assertThatThrownBy(() -> forkd.workspace("w"))
          .isInstanceOfSatisfying(
              ForkdApiException.class, e -> assertThat(e.status()).isEqualTo(404));
      assertThat(forkd.snapshots()).extracting(Snapshot::tag).containsExactly("python");
      Workspace limited = forkd.createWorkspace("l", "python", OptionalLong.of(300));
      assertThat(limited.info().memoryLimitMib()).isEqualTo(OptionalLong.of(300));
      assertThat(limited).hasToString("workspace l of python");
    }
  }
}
