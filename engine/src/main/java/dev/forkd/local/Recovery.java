package dev.forkd.local;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.RecoveryReport;
import dev.forkd.fork.Forker;
import dev.forkd.linux.Cgroup;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.Layers;
import dev.forkd.state.DataDir;
import dev.forkd.state.SandboxRow;
import dev.forkd.state.SandboxState;
import dev.forkd.vmm.AttachSpec;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * What happens first in a data directory that another process has left, however it ended: what
 * lives and is provably ours is adopted, what was half done is undone or finished, and what has no
 * owner is removed. Everything is found by name, so nothing has to have been written down.
 */
final class Recovery {
  private static final String PROCESS_PREFIX = "forkd-";
  private static final Duration KILL_PATIENCE = Duration.ofSeconds(5);

  private final Forker.Parts parts;
  private final List<String> adopted = new ArrayList<>();
  private final List<String> settled = new ArrayList<>();
  private final List<String> reaped = new ArrayList<>();

  Recovery(Forker.Parts parts) {
    this.parts = parts;
  }

  RecoveryReport run() {
    settled.addAll(parts.snapshots().load());
    for (SandboxRow row : parts.store().listSandboxes()) {
      recover(row);
    }
    sweepProcesses();
    sweepCgroups();
    sweepFolder(parts.dir().snapshots(), tags(), "snapshot folder ");
    sweepSockets();
    sweepImages();
    return new RecoveryReport(adopted, settled, reaped);
  }

  private Set<String> live() {
    return parts.sandboxes().all().stream().map(s -> s.id().value()).collect(Collectors.toSet());
  }

  private Set<String> tags() {
    return parts.snapshots().list().stream()
        .map(snapshot -> snapshot.tag().value())
        .collect(Collectors.toSet());
  }

  private void recover(SandboxRow row) {
    if (row.state() == SandboxState.LIVE) {
      try {
        adopt(row);
        adopted.add(row.id());
        return;
      } catch (ForkdException e) {
        reaped.add("sandbox " + row.id() + ": " + e.message());
      }
    } else if (row.state() == SandboxState.FAILED) {
      reaped.add("sandbox " + row.id() + ", which had failed");
    } else {
      settled.add(
          (row.state() == SandboxState.STARTING ? "undone: fork of " : "finished: removal of ")
              + row.id());
    }
    end(new ProcessIdentity(row.pid(), row.startTicks()));
    parts.sandboxes().remove(row.id());
  }

  private void adopt(SandboxRow row) {
    SandboxRecord record = SandboxRecord.fromJson(row.detailJson());
    VmName name = new VmName(record.id(), parts.dir().runtimeDir());
    DiskChain believed =
        new DiskChain(
            record.disk().stream().map(ref -> Layers.layer(ref, parts.layers())).toList(),
            parts.layers().layer(record.activeLayer(), DiskLayer.Format.QCOW2));
    RunningVm vm =
        parts
            .vmm()
            .attach(
                new AttachSpec(
                    name,
                    new VmHardware(record.memoryMib()),
                    believed,
                    Math.toIntExact(row.pid()),
                    row.startTicks(),
                    record.ramInode()));
    try {
      // QEMU knows best which layers it writes: a branch may have been cut short.
      SandboxRecord actual =
          record.withDisk(
              vm.disk().base().stream().map(Layers::ref).toList(), vm.disk().active().id());
      Sandbox sandbox =
          new Sandbox(
              actual,
              vm,
              parts.agents(),
              !vm.paused(),
              parts.host().isolation(),
              cgroup(record.id()),
              parts.shared());
      parts.ledger().hold(Sandboxes.holder(record.id()), actual.images());
      parts.sandboxes().add(sandbox);
      parts.sandboxes().save(actual.id(), () -> actual);
      parts.shared().handshake().remember(actual.certificate());
      if (actual.certificate().state() == Certificate.State.VERIFIED) {
        sandbox.resynchronize();
      } else {
        sandbox.doubtHandshake();
      }
    } catch (RuntimeException e) {
      vm.close();
      throw e;
    }
  }

  private Optional<Cgroup> cgroup(String id) {
    try {
      return Cgroup.find(parts.cgroups(), parts.dir().cgroupName(id));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  private void end(ProcessIdentity process) {
    if (process.pid() == 0 || !process.isAlive()) {
      return;
    }
    process.signal(true);
    try {
      if (!process.awaitEnd(KILL_PATIENCE)) {
        reaped.add("not process " + process.pid() + ", which survives SIGKILL");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while recovering", e);
    }
  }

  private void sweepProcesses() {
    try {
      Set<String> live = live();
      for (ProcessIdentity.Owned owned :
          ProcessIdentity.owned(PROCESS_PREFIX, List.of(parts.dir().runtimeDir()))) {
        if (!live.contains(owned.id()) && owned.process().pid() != ProcessHandle.current().pid()) {
          end(owned.process());
          reaped.add("process " + owned.process().pid() + " of " + owned.id());
        }
      }
    } catch (IOException e) {
      reaped.add("nothing: the list of processes cannot be read: " + e.getMessage());
    }
  }

  private void sweepCgroups() {
    String prefix = parts.dir().cgroupPrefix();
    try {
      for (Cgroup group : Cgroup.listOwned(parts.cgroups(), prefix)) {
        if (!live().contains(group.name().substring(prefix.length()))) {
          group.destroy();
          reaped.add("cgroup " + group.name());
        }
      }
    } catch (IOException e) {
      reaped.add("not all cgroups: " + e.getMessage());
    }
  }

  private void sweepFolder(Path folder, Set<String> known, String what) {
    for (Path entry : list(folder)) {
      if (!known.contains(String.valueOf(entry.getFileName()))) {
        delete(entry);
        reaped.add(what + entry.getFileName());
      }
    }
  }

  private void sweepSockets() {
    Set<String> live = live();
    for (Path socket : list(parts.dir().runtimeDir())) {
      String file = String.valueOf(socket.getFileName());
      int dot = file.lastIndexOf('.');
      if (dot > 0 && !live.contains(file.substring(0, dot))) {
        delete(socket);
        reaped.add("runtime file " + file);
      }
    }
  }

  private void sweepImages() {
    // A snapshot whose images are not known may need any of them: then none is removed.
    if (parts.snapshots().imagesUnknown()) {
      return;
    }
    for (String id : parts.memory().list()) {
      if (!parts.ledger().isHeld(id)) {
        parts.memory().delete(id);
        reaped.add("memory image " + id);
      }
    }
    for (String id : parts.layers().list()) {
      if (!parts.ledger().isHeld(id)) {
        parts.layers().delete(id);
        reaped.add("disk layer " + id);
      }
    }
  }

  private static List<Path> list(Path folder) {
    try (Stream<Path> entries = Files.list(folder)) {
      return entries.sorted().toList();
    } catch (IOException e) {
      return List.of();
    }
  }

  private void delete(Path entry) {
    try {
      DataDir.deleteTree(entry);
    } catch (IOException e) {
      reaped.add("not " + entry + ": " + e.getMessage());
    }
  }
}
