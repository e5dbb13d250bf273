package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.ForkSpec;
import dev.forkd.linux.Cgroup;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.state.SandboxRow;
import dev.forkd.state.SandboxState;
import dev.forkd.state.Tx;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmName;
import java.io.IOException;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.function.Function;

/** The start of one child: its row before its process, its files, its limits, its VM. */
final class ChildStart {
  private static final SecureRandom RANDOM = new SecureRandom();

  private final Forker.Parts parts;

  ChildStart(Forker.Parts parts) {
    this.parts = parts;
  }

  /** The record of a child that is about to be made. */
  static SandboxRecord newRecord(ForkSpec spec, SnapshotManifest manifest) {
    return new SandboxRecord(
        "sb" + randomHex(6),
        manifest.tag(),
        manifest.platform(),
        System.currentTimeMillis() / 1000,
        manifest.memoryMib(),
        manifest.diskBytes(),
        0,
        Optional.empty(),
        manifest.memory(),
        manifest.disk(),
        "d" + randomHex(8),
        manifest.resyncToken(),
        randomHex(32),
        manifest.frozen(),
        spec.memoryLimitMib(),
        0,
        Optional.empty(),
        Optional.empty(),
        Certificate.pending());
  }

  /** Writes down what is about to exist, so that a sweep would find it. */
  void reserve(List<SandboxRecord> records, Forker.Claim claim, boolean durable) {
    records.forEach(r -> parts.ledger().hold(Sandboxes.holder(r.id()), r.images()));
    Function<Tx, Integer> work =
        tx -> {
          records.forEach(r -> tx.insertSandbox(starting(r)));
          claim.claim(tx, records.stream().map(r -> new SandboxId(r.id())).toList());
          return records.size();
        };
    try {
      int _ = durable ? parts.store().inTransaction(work) : parts.store().untilHostStops(work);
    } catch (RuntimeException e) {
      for (SandboxRecord r : records) {
        parts.snapshots().removeImages(parts.ledger().release(Sandboxes.holder(r.id())));
      }
      throw e;
    }
  }

  private static SandboxRow starting(SandboxRecord record) {
    return new SandboxRow(
        record.id(),
        SandboxState.STARTING,
        record.snapshot(),
        0,
        0,
        record.createdAtUnix() * 1000,
        record.memoryLimitMib().isPresent()
            ? Optional.of(Math.toIntExact(record.memoryLimitMib().getAsLong()))
            : Optional.empty(),
        record.toJson());
  }

  /** Makes its VM and takes charge of it; when that fails, nothing of it is left. */
  Sandbox begin(SandboxRecord reserved, Births.Birth birth) {
    Optional<Cgroup> cgroup = Optional.empty();
    SandboxRecord record = birth.begun(reserved);
    try {
      parts.ledger().hold(Sandboxes.holder(record.id()), record.images());
      VmName name = new VmName(record.id(), parts.dir().runtimeDir());
      DiskLayer overlay = parts.layers().newOverlay(record.activeLayer(), record.diskBytes());
      cgroup = limit(record);
      Optional<Cgroup> limited = cgroup;
      RunningVm vm =
          birth.start(name, record, overlay, pid -> limited.ifPresent(group -> join(group, pid)));
      return new Sandbox(
          record, vm, parts.agents(), false, parts.host().isolation(), cgroup, parts.shared());
    } catch (IOException | RuntimeException e) {
      cgroup.ifPresent(ChildStart::destroyQuietly);
      parts.sandboxes().remove(record.id());
      throw e instanceof ForkdException known
          ? known
          : new ForkdException(ErrorCode.INTERNAL, "fork " + record.id() + ": " + e, e);
    }
  }

  private Optional<Cgroup> limit(SandboxRecord record) throws IOException {
    if (record.memoryLimitMib().isEmpty()) {
      return Optional.empty();
    }
    return Optional.of(
        Cgroup.create(
            parts.cgroups(),
            parts.dir().cgroupName(record.id()),
            OptionalLong.of(record.memoryLimitMib().getAsLong() << 20),
            OptionalInt.empty()));
  }

  private static void join(Cgroup group, long pid) {
    try {
      group.add(pid);
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.INTERNAL, "put process " + pid + " into " + group + ": " + e.getMessage(), e);
    }
  }

  private static void destroyQuietly(Cgroup group) {
    try {
      group.destroy();
    } catch (IOException e) {
      // The sweep at the next start finds it by its name.
      return;
    }
  }

  /** The row of one that waited and is somebody's from now on. */
  static void handOut(Tx tx, Sandbox child, long nowMillis) {
    var process = child.vm().process();
    SandboxRecord record = child.record();
    SandboxRow row = tx.findSandbox(child.id().value()).orElseThrow();
    tx.updateSandbox(
        new SandboxRow(
            row.id(),
            state(record),
            row.snapshotTag(),
            process.pid(),
            process.startTicks(),
            nowMillis,
            row.memoryLimitMib(),
            record.toJson()));
  }

  /** The row of one that was started. */
  static void settle(Tx tx, Sandbox child) {
    var process = child.vm().process();
    SandboxRecord record = child.record();
    tx.findSandbox(child.id().value())
        .ifPresent(row ->
            tx.updateSandbox(
                row.withProcess(process.pid(), process.startTicks())
                    .withState(state(record))
                    .withDetail(record.toJson())));
  }

  /** It may have failed already, while its siblings were still being started. */
  private static SandboxState state(SandboxRecord record) {
    return record.failure().isPresent() ? SandboxState.FAILED : SandboxState.LIVE;
  }

  private static String randomHex(int bytes) {
    byte[] random = new byte[bytes];
    RANDOM.nextBytes(random);
    return HexFormat.of().formatHex(random);
  }
}
