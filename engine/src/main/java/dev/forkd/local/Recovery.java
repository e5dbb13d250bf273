package dev.forkd.local;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
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
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
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

  /** Adoptions under way at once: most of each is waiting for a guest or for QEMU. */
  private static final int ADOPTIONS = 16;

  /** Failed sandboxes that are kept with their reason; the newest. */
  private static final int FAILED_MAX = 1000;

  private static final System.Logger LOG = System.getLogger(Recovery.class.getName());

  private final Forker.Parts parts;
  private final Set<String> adopted = new LinkedHashSet<>();
  private final List<String> settled = new ArrayList<>();

  /** Those that look for sandboxes add to it side by side. */
  private final List<String> reaped = Collections.synchronizedList(new ArrayList<>());

  Recovery(Forker.Parts parts) {
    this.parts = parts;
  }

  RecoveryReport run() {
    settled.addAll(parts.snapshots().load());
    recoverSandboxes(parts.store().listSandboxes());
    sweepProcesses();
    sweepCgroups();
    sweepFolder(parts.dir().snapshots(), tags(), "snapshot folder ");
    sweepSockets();
    sweepImages();
    return new RecoveryReport(List.copyOf(adopted), settled, reaped);
  }

  private Set<String> tags() {
    return parts.snapshots().list().stream()
        .map(snapshot -> snapshot.tag().value())
        .collect(Collectors.toSet());
  }

  /** What became of one stored sandbox. */
  private sealed interface Found {
    record Adopted() implements Found {}

    /** It has ended, now or earlier, and is kept for its reason. */
    record Failed(SandboxRecord record) implements Found {}

    /** What was begun with it is undone or finished. */
    record Settled(String what) implements Found {}

    record Damaged(String why) implements Found {}
  }

  private void recoverSandboxes(List<SandboxRow> rows) {
    Map<String, Cgroup> groups = cgroups();
    // All that is needed is held before anything is let go.
    rows.stream()
        .filter(row -> row.state() == SandboxState.LIVE || row.state() == SandboxState.FAILED)
        .forEach(this::hold);
    Map<SandboxRow, Future<Found>> finding = new LinkedHashMap<>();
    try (ExecutorService finders = Threads.virtualExecutor("adopt", ADOPTIONS)) {
      rows.forEach(row -> finding.put(row, finders.submit(() -> find(row, groups))));
    }
    List<SandboxRow> failed = new ArrayList<>();
    finding.forEach((row, future) -> {
      switch (result(future)) {
        case Found.Adopted _ -> adopted.add(row.id());
        case Found.Failed(SandboxRecord record) -> {
          if (row.state() == SandboxState.LIVE) {
            settled.add("failed: sandbox " + row.id() + ": " + record.failure().orElse(""));
          }
          // Of one that has failed only the row stays.
          parts.sandboxes().letGo(row.id());
          failed.add(row.withProcess(0, 0).withDetail(record.toJson()));
        }
        case Found.Settled(String what) -> {
          settled.add(what + row.id());
          parts.sandboxes().remove(row.id());
        }
        case Found.Damaged(String why) -> {
          reaped.add("sandbox " + row.id() + ": " + why);
          parts.sandboxes().remove(row.id());
        }
      }
    });
    keepFailed(failed);
  }

  private void hold(SandboxRow row) {
    try {
      parts
          .ledger()
          .hold(Sandboxes.holder(row.id()), SandboxRecord.fromJson(row.detailJson()).images());
    } catch (ForkdException e) {
      // Whoever adopts it says so.
      return;
    }
  }

  private static Found result(Future<Found> future) {
    try {
      return future.get();
    } catch (ExecutionException e) {
      throw e.getCause() instanceof ForkdException known
          ? known
          : new ForkdException(ErrorCode.INTERNAL, "recover a sandbox", e.getCause());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while recovering", e);
    }
  }

  /** On one of several threads. When this returns, what is not adopted has no process. */
  private Found find(SandboxRow row, Map<String, Cgroup> groups) {
    Found found =
        switch (row.state()) {
          case STARTING -> new Found.Settled("undone: fork of ");
          case KILLING -> new Found.Settled("finished: removal of ");
          case LIVE, FAILED -> take(row, groups);
        };
    if (!(found instanceof Found.Adopted)) {
      end(new ProcessIdentity(row.pid(), row.startTicks()));
    }
    return found;
  }

  private Found take(SandboxRow row, Map<String, Cgroup> groups) {
    SandboxRecord record;
    try {
      record = SandboxRecord.fromJson(row.detailJson());
    } catch (ForkdException e) {
      return new Found.Damaged(e.message());
    }
    // Its own reason says more than that its process is gone.
    if (row.state() == SandboxState.FAILED || record.failure().isPresent()) {
      return new Found.Failed(record);
    }
    try {
      adopt(row, record, Optional.ofNullable(groups.get(parts.dir().cgroupName(row.id()))));
      return new Found.Adopted();
    } catch (ForkdException e) {
      return new Found.Failed(
          record.withFailure("it could not be taken over by a new daemon: " + e.message()));
    }
  }

  /** Takes a sandbox over, or leaves nothing of it here. */
  private void adopt(SandboxRow row, SandboxRecord record, Optional<Cgroup> cgroup) {
    VmName name = new VmName(record.id(), parts.dir().runtimeDir());
    RunningVm vm =
        parts
            .vmm()
            .attach(
                new AttachSpec(
                    name,
                    new VmHardware(record.memoryMib()),
                    disk(record),
                    Math.toIntExact(row.pid()),
                    row.startTicks(),
                    record.ramInode()));
    // QEMU knows best which layers it writes: a branch may have been cut short.
    SandboxRecord actual =
        record.withDisk(
            vm.disk().base().stream().map(Layers::ref).toList(), vm.disk().active().id());
    parts.ledger().hold(Sandboxes.holder(record.id()), actual.images());
    Sandbox sandbox;
    try {
      sandbox = sandbox(actual, vm, !vm.paused(), cgroup);
    } catch (RuntimeException e) {
      vm.close();
      throw e;
    }
    try {
      parts.shared().handshake().remember(actual.certificate());
      if (actual.certificate().state() == Certificate.State.VERIFIED) {
        sandbox.resynchronize();
      } else {
        sandbox.doubtHandshake();
      }
      saveQuietly(sandbox);
    } catch (RuntimeException e) {
      end(sandbox);
      throw e;
    }
    // Only what is wholly ours is listed.
    parts.sandboxes().add(sandbox);
  }

  /**
   * Nobody loses a sandbox because the disk is full. The row that is there names its process and
   * its token, and the next daemon asks QEMU for the layers as this one did.
   */
  private void saveQuietly(Sandbox sandbox) {
    try {
      parts.sandboxes().save(sandbox.id().value(), sandbox::record);
    } catch (ForkdException e) {
      LOG.log(
          System.Logger.Level.WARNING,
          "note that {0} was taken over: {1}",
          sandbox.id(),
          e.message());
    }
  }

  private Sandbox sandbox(
      SandboxRecord record, RunningVm vm, boolean running, Optional<Cgroup> cgroup) {
    return new Sandbox(
        record, vm, parts.agents(), running, parts.host().isolation(), cgroup, parts.shared());
  }

  private DiskChain disk(SandboxRecord record) {
    return new DiskChain(
        record.disk().stream().map(ref -> Layers.layer(ref, parts.layers())).toList(),
        parts.layers().layer(record.activeLayer(), DiskLayer.Format.QCOW2));
  }

  private static void end(Sandbox sandbox) {
    try {
      sandbox.kill();
    } catch (ForkdException e) {
      // Its process is ended by its number next, and its cgroup is swept up.
      LOG.log(System.Logger.Level.DEBUG, "end {0}: {1}", sandbox.id(), e.message());
    }
  }

  private void keepFailed(List<SandboxRow> failed) {
    failed.sort(Comparator.comparingLong(SandboxRow::createdUnixMillis).reversed());
    for (SandboxRow row : failed.subList(0, Math.min(FAILED_MAX, failed.size()))) {
      SandboxRecord record = SandboxRecord.fromJson(row.detailJson());
      try {
        parts.store().updateSandbox(row.withState(SandboxState.FAILED));
      } catch (ForkdException e) {
        // Then the next start finds it as this one did.
        LOG.log(
            System.Logger.Level.WARNING, "note that {0} has failed: {1}", row.id(), e.message());
      }
      parts
          .sandboxes()
          .add(
              sandbox(
                  record,
                  new GoneVm(row.id(), disk(record), (long) record.memoryMib() << 20),
                  false,
                  Optional.empty()));
    }
    for (SandboxRow row : failed.subList(Math.min(FAILED_MAX, failed.size()), failed.size())) {
      reaped.add("sandbox " + row.id() + ", which failed before " + FAILED_MAX + " others did");
      parts.sandboxes().remove(row.id());
    }
  }

  /** By name. The whole hierarchy is looked through for them, so once for all. */
  private Map<String, Cgroup> cgroups() {
    try {
      return Cgroup.listOwned(parts.cgroups(), parts.dir().cgroupPrefix()).stream()
          .collect(Collectors.toMap(Cgroup::name, group -> group));
    } catch (IOException e) {
      LOG.log(System.Logger.Level.WARNING, "look for cgroups: {0}", e.getMessage());
      return Map.of();
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
      for (ProcessIdentity.Owned owned :
          ProcessIdentity.owned(PROCESS_PREFIX, List.of(parts.dir().runtimeDir()))) {
        if (!adopted.contains(owned.id())
            && owned.process().pid() != ProcessHandle.current().pid()) {
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
        if (!adopted.contains(group.name().substring(prefix.length()))) {
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
    for (Path socket : list(parts.dir().runtimeDir())) {
      String file = String.valueOf(socket.getFileName());
      int dot = file.lastIndexOf('.');
      if (dot > 0 && !adopted.contains(file.substring(0, dot))) {
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
