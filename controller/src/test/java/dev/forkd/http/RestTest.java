package dev.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.rest.ChildResult;
import dev.forkd.api.rest.EvalResponse;
import dev.forkd.api.rest.ExecResponse;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.PingResponse;
import dev.forkd.api.rest.RecoveryInfo;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.api.rest.SnapshotInfoDetail;
import dev.forkd.api.rest.VersionInfo;
import dev.forkd.http.TestDaemon.Answer;
import dev.forkd.testkit.FakeEngine;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.OptionalLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every route answers what the published clients expect: status, field names, error texts. */
class RestTest {
  @TempDir Path folder;
  private TestDaemon daemon;

  @BeforeEach
  void start() {
    daemon = new TestDaemon(new FakeEngine().withTemplate("python"), folder);
  }

  @AfterEach
  void stop() {
    daemon.close();
  }

  @Test
  void theDaemonSaysThatItLivesAndWhatItIs() {
    assertThat(daemon.get("/healthz").body()).isEqualTo("{\"ok\":true}");
    assertThat(daemon.get("/version").as(VersionInfo.class))
        .isEqualTo(new VersionInfo("0.1.0", "v1"));
    assertThat(daemon.get("/v1/recovery").as(RecoveryInfo.class).reaped())
        .containsExactly("vm of sb2");
    assertThat(daemon.post("/v1/admin/shutdown").status()).isEqualTo(202);
    // The answer comes first, so that it arrives.
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() -> assertThat(daemon.shutdowns).hasValue(1));
  }

  @Test
  void metricsHaveTheReferenceGaugesAndOurHistograms() {
    String id = daemon.child("python");
    daemon.post("/v1/sandboxes/" + id + "/exec", "{\"args\":[\"true\"]}");
    daemon.post("/v1/sandboxes/" + id + "/branch", "{\"tag\":\"b\",\"diff\":true}");
    // A request is counted when its answer is on its way.
    await()
        .atMost(TestDaemon.PATIENCE)
        .untilAsserted(() ->
            assertThat(daemon.get("/metrics").body())
                .contains("route=\"POST /v1/sandboxes/{id}/exec\""));
    Answer metrics = daemon.get("/metrics");
    assertThat(metrics.header("content-type")).startsWith("text/plain; version=0.0.4");
    assertThat(metrics.body())
        .contains(
            "# TYPE forkd_snapshots_total gauge\nforkd_snapshots_total 2\n",
            "forkd_sandboxes_active 1\n",
            "forkd_branches_in_flight 0\n",
            "forkd_branch_concurrency_cap 4\n",
            "# TYPE forkd_admission_wait_seconds histogram\n",
            "forkd_admission_wait_seconds_bucket{le=\"+Inf\"} 0\n",
            "forkd_admission_waiting 0\n",
            "# TYPE forkd_admission_rejected_total counter\n",
            "forkd_build_info{version=\"0.1.0\"} 1\n",
            "forkd_fork_seconds_bucket{le=\"0.1\"} ",
            "forkd_fork_seconds_bucket{le=\"+Inf\"} 1",
            "forkd_branch_pause_seconds_bucket{le=\"0.01\"} 1",
            "forkd_exec_seconds_count 1");
    assertThat(metrics.body()).doesNotContain(id);
  }

  /** A pool is set and read beside its snapshot, and listed with the others. */
  @Test
  void poolsAreSetAndListed() {
    assertThat(daemon.get("/v1/pools").body()).isEqualTo("[]");
    assertThat(daemon.get("/v1/snapshots/python/pool").body())
        .isEqualTo("{\"tag\":\"python\",\"size\":0,\"prewarm\":false,\"ready\":0,\"starting\":0}");
    Answer set = daemon.put("/v1/snapshots/python/pool", "{\"size\":7,\"prewarm\":true}");
    assertThat(set.status()).isEqualTo(200);
    assertThat(daemon.get("/v1/pools").body()).isEqualTo("[" + set.body() + "]");
    for (String wrong : List.of("{}", "{\"size\":-1}", "{\"size\":1001}")) {
      assertThat(daemon.put("/v1/snapshots/python/pool", wrong).status()).as(wrong).isEqualTo(400);
    }
    assertThat(daemon.put("/v1/snapshots/none/pool", "{\"size\":1}").status()).isEqualTo(404);
    assertThat(daemon.get("/v1/snapshots/none/pool").status()).isEqualTo(404);
  }

  /** Whoever meets a full house is told when to come back; nobody else is. */
  @Test
  void fullHouseSaysWhenToRetry() {
    String id = daemon.child("python");
    daemon.engine.failNext(
        new ForkdException(
            ErrorCode.RESOURCE_EXHAUSTED,
            "2048 requests wait",
            Map.of(ForkdException.RETRY_AFTER_SECONDS, "7"),
            null));
    Answer full = daemon.post("/v1/sandboxes/" + id + "/ping");
    assertThat(full.status()).isEqualTo(503);
    assertThat(full.header("retry-after")).isEqualTo("7");
    assertThat(full.error().code()).contains("resource_exhausted");
    daemon.engine.failNext(new ForkdException(ErrorCode.RESOURCE_EXHAUSTED, "too many"));
    assertThat(daemon.post("/v1/sandboxes/" + id + "/ping").header("retry-after")).isEqualTo("1");
    daemon.engine.failNext(new ForkdException(ErrorCode.UNAVAILABLE, "it has failed"));
    Answer failed = daemon.post("/v1/sandboxes/" + id + "/ping");
    assertThat(failed.status()).isEqualTo(503);
    assertThat(failed.header("retry-after")).isEmpty();
    daemon.engine.failNext(new ForkdException(ErrorCode.DEADLINE_EXCEEDED, "no core was free"));
    assertThat(daemon.post("/v1/sandboxes/" + id + "/ping").status()).isEqualTo(504);
  }

  @Test
  void forksAnswerAnArrayWithThePublishedFields() {
    Answer answer =
        daemon.post(
            "/v1/sandboxes",
            "{\"snapshot_tag\":\"python\",\"n\":3,\"per_child_netns\":false,"
                + "\"memory_limit_mib\":256,\"prewarm\":true,\"unknown\":1}");
    assertThat(answer.status()).isEqualTo(201);
    assertThat(answer.header("content-type")).isEqualTo("application/json");
    List<SandboxInfo> children = Json.readList(answer.response().body(), SandboxInfo.class);
    assertThat(children).hasSize(3).extracting(SandboxInfo::id).doesNotHaveDuplicates();
    assertThat(children)
        .allSatisfy(child -> {
          assertThat(child.id()).matches("^[a-z0-9]+$");
          assertThat(child.memoryLimitMib()).isEqualTo(OptionalLong.of(256));
          assertThat(child.certificate().orElseThrow().state()).isEqualTo("verified");
        });
    assertThat(answer.body())
        .contains("\"netns\":null", "\"last_branch_memory_path\":null", "\"guest_addr\":");
    assertThat(daemon.get("/v1/sandboxes/" + children.getFirst().id()).as(SandboxInfo.class))
        .isEqualTo(children.getFirst());
    assertThat(Json.readList(daemon.get("/v1/sandboxes").response().body(), SandboxInfo.class))
        .isEqualTo(children);
  }

  @Test
  void aPartialForkAnswersOneOutcomePerChild() {
    daemon.engine.failChildren(1);
    Answer answer =
        daemon.post("/v1/sandboxes", "{\"snapshot_tag\":\"python\",\"n\":3,\"partial\":true}");
    assertThat(answer.status()).isEqualTo(201);
    List<ChildResult> results = Json.readList(answer.response().body(), ChildResult.class);
    assertThat(results).hasSize(3);
    assertThat(results.get(1).sandbox()).isPresent();
    assertThat(results.get(2).code()).contains("unavailable");
    assertThat(results.get(2).error()).contains("child 2 died");
  }

  @Test
  void aWholeForkFailsWhenOneChildDoesAndKeepsNone() {
    daemon.engine.failChildren(1);
    Answer answer = daemon.post("/v1/sandboxes", "{\"snapshot_tag\":\"python\",\"n\":3}");
    assertThat(answer.status()).isEqualTo(503);
    assertThat(daemon.engine.counts()).isEqualTo(Map.of("snapshots", 1, "sandboxes", 0));
  }

  @Test
  void execKeepsTheStreamsApartAndTellsHowItEnded() {
    String exec = "/v1/sandboxes/" + daemon.child("python") + "/exec";
    ExecResponse echoed = daemon.post(exec, "{\"args\":[\"echo\",\"a b\"]}").as(ExecResponse.class);
    assertThat(echoed.stdout()).isEqualTo("a b\n");
    assertThat(echoed.exitCode()).isZero();
    assertThat(daemon.post(exec, "{\"args\":[\"warn\",\"w\"]}").as(ExecResponse.class).stderr())
        .isEqualTo("w\n");
    assertThat(daemon.post(exec, "{\"args\":[\"exit\",\"3\"]}").as(ExecResponse.class).exitCode())
        .isEqualTo(3);
    assertThat(
            daemon
                .post(exec, "{\"args\":[\"cat\"],\"stdin\":\"grüß\"}")
                .as(ExecResponse.class)
                .stdout())
        .isEqualTo("grüß");
    assertThat(
            daemon
                .post(exec, "{\"args\":[\"cat\"],\"stdin_base64\":\"aGk=\"}")
                .as(ExecResponse.class)
                .stdout())
        .isEqualTo("hi");
    assertThat(
            daemon
                .post(exec, "{\"args\":[\"env\",\"A\"],\"env\":{\"A\":\"x\"}}")
                .as(ExecResponse.class)
                .stdout())
        .isEqualTo("x\n");
    ExecResponse crashed = daemon.post(exec, "{\"args\":[\"crash\"]}").as(ExecResponse.class);
    assertThat(crashed.exitCode()).isEqualTo(139);
    assertThat(crashed.signal()).isEqualTo(OptionalInt.of(11));
    ExecResponse late =
        daemon
            .post(exec, "{\"args\":[\"sleep\",\"60\"],\"timeout_secs\":1}")
            .as(ExecResponse.class);
    assertThat(late.timedOut()).contains(true);
    assertThat(late.exitCode()).isEqualTo(124);
    assertThat(
            daemon
                .post(exec, "{\"args\":[\"sleep\",\"60\"],\"background\":true}")
                .as(ExecResponse.class)
                .guestPid())
        .isEqualTo(OptionalInt.of(77));
    ExecResponse missing = daemon.post(exec, "{\"args\":[\"nonesuch\"]}").as(ExecResponse.class);
    assertThat(missing.exitCode()).isEqualTo(127);
    assertThat(missing.stderr()).contains("nonesuch");
  }

  @Test
  void evalAnswersAValueOrAnError() {
    String eval = "/v1/sandboxes/" + daemon.child("python") + "/eval";
    EvalResponse two = daemon.post(eval, "{\"code\":\"1+1\"}").as(EvalResponse.class);
    assertThat(two.result()).contains("2");
    assertThat(two.exitCode()).isZero();
    Answer raised = daemon.post(eval, "{\"code\":\"1/0\"}");
    assertThat(raised.status()).isEqualTo(200);
    assertThat(raised.body()).contains("\"result\":null", "\"exit_code\":1", "ZeroDivisionError");
    assertThat(daemon.post(eval, "{\"code\":\"while True: pass\",\"timeout_secs\":1}").status())
        .isEqualTo(504);
  }

  @Test
  void pingSpeaksAsTheOldAgentDid() {
    String id = daemon.child("python");
    PingResponse ping = daemon.post("/v1/sandboxes/" + id + "/ping").as(PingResponse.class);
    assertThat(ping.pong()).isTrue();
    assertThat(ping.numpyVersion()).isEqualTo("1.24.2");
    assertThat(ping.warmupReady()).isTrue();
  }

  @Test
  void anUnreachableGuestIsAServerErrorSoThatClientsTryAgain() {
    String id = daemon.child("python");
    daemon.engine.breakSandbox(new SandboxId(id), "its VMM died (signal 9)");
    for (String call : List.of("ping", "exec", "eval", "branch")) {
      Answer answer =
          daemon.post("/v1/sandboxes/" + id + "/" + call, "{\"args\":[\"true\"],\"code\":\"1\"}");
      assertThat(answer.status()).as(call).isEqualTo(503);
      assertThat(answer.error().error()).contains("its VMM died");
    }
    assertThat(daemon.get("/v1/sandboxes/" + id).as(SandboxInfo.class).failure())
        .contains("its VMM died (signal 9)");
    assertThat(daemon.delete("/v1/sandboxes/" + id).status()).isEqualTo(204);
  }

  @Test
  void snapshotsAreListedShownAndDeleted() {
    daemon.engine.withBrokenTemplate("broken", "missing vmstate: /data/x");
    List<SnapshotInfo> all =
        Json.readList(daemon.get("/v1/snapshots").response().body(), SnapshotInfo.class);
    assertThat(all).extracting(SnapshotInfo::tag).containsExactly("broken", "python");
    assertThat(all.getFirst().status()).isEqualTo("failed");
    assertThat(all.getFirst().bootable()).isFalse();
    assertThat(daemon.get("/v1/snapshots/python").as(SnapshotInfo.class)).isEqualTo(all.get(1));
    assertThat(daemon.get("/v1/snapshots").body()).doesNotContain("branched_from", "pause_ms");
    Answer unbootable = daemon.post("/v1/sandboxes", "{\"snapshot_tag\":\"broken\"}");
    assertThat(unbootable.status()).isEqualTo(409);
    assertThat(unbootable.error().error()).contains("is not bootable");
    Answer deleted = daemon.delete("/v1/snapshots/broken");
    assertThat(deleted.status()).isEqualTo(204);
    assertThat(deleted.body()).isEmpty();
    assertThat(daemon.delete("/v1/snapshots/broken").status()).isEqualTo(404);
  }

  @Test
  void dependentsHinderADeleteUnlessToldOtherwise() {
    String id = daemon.child("python");
    String branch = "{\"tag\":\"%s\",\"diff\":true,\"parent_tag\":\"python\"}";
    daemon.post("/v1/sandboxes/" + id + "/branch", branch.formatted("b1"));
    daemon.post("/v1/sandboxes/" + id + "/branch", branch.formatted("b2"));
    Answer refused = daemon.delete("/v1/snapshots/python");
    assertThat(refused.status()).isEqualTo(409);
    assertThat(refused.error().error())
        .contains("2 dependents", "b1", "b2", "?cascade=true", "?force=true");
    assertThat(daemon.delete("/v1/snapshots/python?cascade=true&force=true").status())
        .isEqualTo(400);
    assertThat(daemon.delete("/v1/snapshots/python?cascade=yes").status()).isEqualTo(400);
    assertThat(daemon.delete("/v1/snapshots/python?cascade=true").status()).isEqualTo(204);
    assertThat(daemon.engine.counts()).containsEntry("snapshots", 0);
  }

  @Test
  void aChainIsToldAndCompacted() {
    String link = "{\"tag\":\"%s\",\"mode\":\"diff\",\"parent_tag\":\"%s\"}";
    String id = daemon.child("python");
    Answer one = daemon.post("/v1/sandboxes/" + id + "/branch", link.formatted("one", "python"));
    assertThat(one.as(SnapshotInfo.class).parentTag()).contains("python");
    assertThat(one.as(SnapshotInfo.class).sourceTag()).contains("python");
    String child = daemon.child("one");
    daemon.post("/v1/sandboxes/" + child + "/branch", link.formatted("two", "one"));
    SnapshotInfoDetail two = daemon.get("/v1/snapshots/two/info").as(SnapshotInfoDetail.class);
    assertThat(two.chainDepth()).isEqualTo(2);
    assertThat(two.ancestors()).containsExactly("python", "one");
    assertThat(two.parentTag()).contains("one");
    assertThat(two.parentContentHash().orElseThrow()).hasSize(64);
    assertThat(two.memoryPhysicalBytes()).isEqualTo(40L << 20);
    Answer base = daemon.get("/v1/snapshots/python/info");
    assertThat(base.as(SnapshotInfoDetail.class).dependents()).containsExactly("one");
    assertThat(base.body())
        .contains("\"chain_depth\":0", "\"ancestors\":[]", "\"memory_logical_bytes\":536870912")
        .doesNotContain("parent_tag", "parent_content_hash");

    Answer made = daemon.post("/v1/snapshots/two/compact", "{\"to\":\"flat\"}");
    assertThat(made.status()).isEqualTo(200);
    SnapshotInfo flat = made.as(SnapshotInfo.class);
    assertThat(flat.branchedFrom()).contains("compact:two");
    assertThat(flat.branchMode()).contains("compact");
    assertThat(flat.parentTag()).isEmpty();
    assertThat(flat.pauseMs()).isEmpty();
    assertThat(daemon.delete("/v1/snapshots/python?cascade=true").status()).isEqualTo(204);
    assertThat(daemon.get("/v1/snapshots/flat/info").status()).isEqualTo(200);
    assertThat(daemon.engine.counts()).containsEntry("snapshots", 1);
  }

  @Test
  void anOrphanOfForceIsToldSo() {
    daemon.post(
        "/v1/sandboxes/" + daemon.child("python") + "/branch",
        "{\"tag\":\"one\",\"diff\":true,\"parent_tag\":\"python\"}");
    assertThat(daemon.delete("/v1/snapshots/python?force=true").status()).isEqualTo(204);
    Answer info = daemon.get("/v1/snapshots/one/info");
    assertThat(info.status()).isEqualTo(500);
    assertThat(info.error().code()).contains("data_loss");
    assertThat(info.error().error()).contains("python", "does not exist");
    assertThat(daemon.get("/v1/snapshots/one").as(SnapshotInfo.class).bootable()).isTrue();
  }

  @Test
  void snapshotsAreMadeFromHostFiles() throws Exception {
    Path kernel = java.nio.file.Files.createFile(folder.resolve("vmlinuz"));
    Path rootfs = java.nio.file.Files.createFile(folder.resolve("root.ext4"));
    String body = "{\"tag\":\"%s\",\"kernel\":\"%s\",\"rootfs\":\"%s\",\"boot_wait_secs\":%d}";
    Answer made = daemon.post("/v1/snapshots", body.formatted("made", kernel, rootfs, 10));
    assertThat(made.status()).isEqualTo(201);
    assertThat(made.as(SnapshotInfo.class).tag()).isEqualTo("made");
    assertThat(made.as(SnapshotInfo.class).template()).isTrue();
    assertThat(made.as(SnapshotInfo.class).warning().orElseThrow())
        .as("what is not heeded is told")
        .contains("boot_wait_secs")
        .doesNotContain("rw");
    Answer plain = daemon.post("/v1/snapshots", body.formatted("plain", kernel, rootfs, 0));
    assertThat(plain.as(SnapshotInfo.class).warning()).isEmpty();
    Path image = java.nio.file.Files.createFile(folder.resolve("root.img"));
    Answer readOnly = daemon.post("/v1/snapshots", body.formatted("ro", kernel, image, 0));
    assertThat(readOnly.as(SnapshotInfo.class).warning().orElseThrow()).startsWith("rw: ");
    Answer again = daemon.post("/v1/snapshots", body.formatted("made", kernel, rootfs, 10));
    assertThat(again.status()).isEqualTo(400);
    assertThat(again.error().error()).contains("exists", "DELETE");
    assertThat(daemon.post("/v1/snapshots", body.formatted("m", "/no/k", rootfs, 10)).body())
        .contains("kernel not found: /no/k");
    assertThat(daemon.post("/v1/snapshots", body.formatted("m", kernel, "/no/r", 10)).body())
        .contains("rootfs not found: /no/r");
    assertThat(daemon.post("/v1/snapshots", body.formatted("m", kernel, rootfs, 61)).status())
        .isEqualTo(400);
  }

  @Test
  void branchesCarryTheirMeasures() {
    String id = daemon.child("python");
    String path = "/v1/sandboxes/" + id + "/branch";
    SnapshotInfo full = daemon.post(path, "{}").as(SnapshotInfo.class);
    assertThat(full.tag()).startsWith("branch-" + id);
    assertThat(full.diffMs()).isEmpty();
    Answer answer = daemon.post(path, "{\"tag\":\"d\",\"mode\":\"diff\"}");
    assertThat(answer.status()).isEqualTo(201);
    SnapshotInfo diff = answer.as(SnapshotInfo.class);
    assertThat(diff.branchedFrom()).contains(id);
    assertThat(diff.pauseMs()).isEqualTo(OptionalLong.of(9));
    assertThat(diff.diffPhysicalBytes()).isEqualTo(OptionalLong.of(40L << 20));
    assertThat(diff.diffLogicalBytes()).isEqualTo(OptionalLong.of(512L << 20));
    assertThat(daemon.post(path, "{\"measure_diff\":true}").as(SnapshotInfo.class).diffMs())
        .isPresent();
    SandboxInfo source = daemon.get("/v1/sandboxes/" + id).as(SandboxInfo.class);
    assertThat(source.hasBranched()).isTrue();
    assertThat(source.branchCount()).isEqualTo(3);
    assertThat(source.lastBranchMemoryPath()).isPresent();
  }

  @Test
  void templatesTellTheirProgressAndThenTheResult() {
    Answer made =
        daemon.post("/v1/templates", "{\"tag\":\"t\",\"packages\":[\"python3\"],\"warm\":[\"1\"]}");
    assertThat(made.status()).isEqualTo(200);
    assertThat(made.header("content-type")).isEqualTo("application/x-ndjson");
    assertThat(made.body().lines().toList()).hasSize(4);
    assertThat(made.body().lines().toList().getFirst())
        .isEqualTo("{\"progress\":\"making the disk\"}");
    assertThat(made.body().lines().toList().getLast()).startsWith("{\"snapshot\":{\"tag\":\"t\"");
    Answer failed =
        daemon.post("/v1/templates", "{\"tag\":\"u\",\"packages\":[],\"run\":[\"false\"]}");
    assertThat(failed.status()).isEqualTo(200);
    assertThat(failed.body().lines().toList().getLast())
        .contains("\"error\":", "exited with 1", "\"code\":\"failed_precondition\"");
    daemon.engine.failNext(new ForkdException(ErrorCode.UNAVAILABLE, "no qemu-system-x86_64"));
    assertThat(daemon.post("/v1/templates", "{\"tag\":\"v\",\"packages\":[]}").status())
        .isEqualTo(503);
  }

  @Test
  void aDefectIsA500WithoutInnardsThatNamesTheRequest() {
    daemon.engine.duringBranch(() -> {
      throw new IllegalStateException("secret innards");
    });
    String id = daemon.child("python");
    Answer answer = daemon.post("/v1/sandboxes/" + id + "/branch", "{}");
    assertThat(answer.status()).isEqualTo(500);
    assertThat(answer.error().code()).contains("internal");
    assertThat(answer.error().error())
        .contains(answer.header("x-request-id"))
        .doesNotContain("secret innards");
    assertThat(daemon.get("/healthz").status()).isEqualTo(200);
  }
}
