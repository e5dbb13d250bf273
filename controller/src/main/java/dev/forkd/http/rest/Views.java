package dev.forkd.http.rest;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.rest.CertificateInfo;
import dev.forkd.api.rest.FileEntry;
import dev.forkd.api.rest.PingResponse;
import dev.forkd.api.rest.PoolInfo;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.api.rest.SnapshotInfoDetail;
import dev.forkd.api.rest.WorkspaceInfo;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.GuestFiles;
import dev.forkd.engine.GuestReport;
import dev.forkd.engine.PoolView;
import dev.forkd.engine.SandboxView;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.SnapshotDetail;
import dev.forkd.engine.WorkspaceView;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;

/** The engine's records as they look on the wire. */
final class Views {
  /** What old clients expect to read; nothing listens there. */
  private static final String GUEST_ADDRESS = "10.42.0.2:8888";

  private Views() {}

  static SnapshotInfo snapshot(Snapshot snapshot) {
    return new SnapshotInfo(
        snapshot.tag().value(),
        snapshot.dir().toString(),
        snapshot.createdAtUnix(),
        branchedFrom(snapshot),
        snapshot.pauseMillis(),
        snapshot.diffMillis(),
        snapshot.diffPhysicalBytes(),
        snapshot.diffLogicalBytes(),
        snapshot.warning(),
        snapshot.status().name().toLowerCase(Locale.ROOT),
        snapshot.bootable(),
        snapshot.template(),
        snapshot.parent().map(Tag::value),
        snapshot.source().map(Tag::value),
        snapshot.branchMode(),
        snapshot.freezeMillis(),
        snapshot.memoryMib(),
        snapshot.memoryBytes(),
        snapshot.diskBytes());
  }

  /** Clients know what was made of another snapshot by how, in place of a sandbox. */
  private static Optional<String> branchedFrom(Snapshot snapshot) {
    return snapshot
        .branchedFrom()
        .map(SandboxId::value)
        .or(() ->
            snapshot.branchMode().flatMap(how -> snapshot.source().map(tag -> how + ":" + tag)));
  }

  static SnapshotInfoDetail detail(SnapshotDetail detail) {
    return new SnapshotInfoDetail(
        detail.tag().value(),
        detail.dir().toString(),
        OptionalLong.of(detail.createdAtUnix()),
        detail.memoryLogicalBytes(),
        detail.memoryPhysicalBytes(),
        detail.memorySharedBytes(),
        detail.vmstateBytes(),
        detail.diskOwnBytes(),
        detail.diskSharedBytes(),
        Optional.of(detail.contentHash()),
        detail.parent().map(Tag::value),
        detail.parentContentHash(),
        detail.chainDepth(),
        detail.dependents().stream().map(Tag::value).toList(),
        detail.ancestors().stream().map(Tag::value).toList());
  }

  static SandboxInfo sandbox(SandboxView sandbox) {
    return new SandboxInfo(
        sandbox.id().value(),
        sandbox.snapshot().value(),
        Optional.empty(),
        GUEST_ADDRESS,
        sandbox.createdAtUnix(),
        sandbox.pid(),
        sandbox.memoryLimitMib(),
        sandbox.branchCount() > 0,
        sandbox.lastBranchMemoryPath().map(Path::toString),
        sandbox.branchCount(),
        sandbox.isolation(),
        sandbox.state(),
        sandbox.failure(),
        sandbox.memoryMib(),
        sandbox.divergedBytes(),
        Optional.of(certificate(sandbox.certificate())));
  }

  static WorkspaceInfo workspace(WorkspaceView workspace) {
    return new WorkspaceInfo(
        workspace.id(),
        workspace.name().value(),
        workspace.source().value(),
        workspace.state().map(Tag::value),
        workspace.status().name().toLowerCase(Locale.ROOT),
        workspace.liveSandbox().map(id -> id.value()),
        workspace.createdAtUnix(),
        workspace.lastActiveUnix(),
        workspace.lastBranchMemoryPath().map(Path::toString),
        workspace.memoryLimitMib());
  }

  private static CertificateInfo certificate(Certificate certificate) {
    return new CertificateInfo(
        certificate.state().name().toLowerCase(Locale.ROOT),
        certificate.epoch(),
        certificate.hostname(),
        certificate.machineId(),
        certificate.randomSha256(),
        certificate.interpreterSha256(),
        certificate.clockOffsetMillis(),
        certificate.clockErrorMaxMillis(),
        certificate.handshakeMillis(),
        certificate.verifiedAtUnixMillis(),
        certificate.failure());
  }

  static PingResponse ping(GuestReport report) {
    return new PingResponse(
        true,
        report.numpyVersion().orElse("not-installed"),
        report.language(),
        report.evaluator().equals("ready"),
        report.agentVersion(),
        report.evaluator(),
        report.processes(),
        report.idle(),
        report.roundTripMillis());
  }

  static PoolInfo pool(PoolView pool) {
    return new PoolInfo(
        pool.tag().value(), pool.size(), pool.prewarm(), pool.ready(), pool.starting());
  }

  static FileEntry entry(GuestFiles.Entry entry) {
    return new FileEntry(
        entry.path(),
        entry.type(),
        entry.sizeBytes(),
        entry.mode(),
        entry.uid(),
        entry.gid(),
        entry.modifiedUnixMillis());
  }
}
