package dev.forkd.vmm.qemu;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.Children;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.GuestMemory;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.VmExit;
import dev.forkd.vmm.VmName;
import dev.forkd.vmm.VmProcess;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import tools.jackson.databind.JsonNode;

/** A microVM in a QEMU process, driven over its QMP socket. */
final class QemuVm implements RunningVm {
  private static final String MERGE_JOB = "merge";
  private static final Duration KILL_TIMEOUT = Duration.ofSeconds(10);

  private final VmName name;
  private final VmProcess process;
  private final ProcessHandle handle;
  private final QmpClient qmp;
  private final SocketChannel agent;
  private final QemuMemory memory;
  private final QemuConsole console;
  private final CompletableFuture<VmExit> exit;
  private final AtomicReference<CompletableFuture<String>> merge;
  private final Copying copying;

  /** A process that is traced does not vanish before its tracer lets go. */
  private final Set<QemuCopier> copiers = ConcurrentHashMap.newKeySet();

  private volatile DiskChain disk;

  /**
   * What is known about copying this process.
   *
   * @param helpers the programs that do it; empty where it cannot be done
   * @param descriptors as inherited from the process this one is a copy of
   */
  record Copying(Optional<CopyHelpers> helpers, Optional<QemuDescriptors> descriptors) {}

  QemuVm(
      VmName name,
      QemuProcess started,
      QmpClient qmp,
      SocketChannel agent,
      QemuMemory memory,
      DiskChain disk,
      AtomicReference<CompletableFuture<String>> merge,
      Copying copying) {
    this.name = name;
    this.process = started.identity();
    this.handle = started.handle();
    this.console = started.console();
    this.exit = started.exit();
    this.qmp = qmp;
    this.agent = agent;
    this.memory = memory;
    this.disk = disk;
    this.merge = merge;
    this.copying = copying;
  }

  VmName name() {
    return name;
  }

  @Override
  public VmCopier copier(boolean owned) {
    CopyHelpers helpers =
        copying
            .helpers()
            .orElseThrow(() ->
                new ForkdException(
                    ErrorCode.UNIMPLEMENTED,
                    "the process of " + name.id() + " cannot be copied on this host"));
    try {
      QemuDescriptors descriptors =
          copying.descriptors().isPresent()
              ? copying.descriptors().get()
              : QemuDescriptors.find(name, process.pid());
      boolean confined = isConfined();
      CopyHelper helper = helpers.take();
      try {
        // What it has to look at in the process it looks at now, not in the pause.
        helper.source(name.id(), process.pid(), owned, copying.descriptors().isPresent());
      } catch (RuntimeException e) {
        helper.close();
        throw e;
      }
      QemuCopier copier = new QemuCopier(this, descriptors, helper, owned, confined);
      copiers.add(copier);
      return copier;
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE, "copy " + name.id() + ": " + e.getMessage(), e);
    }
  }

  void forget(QemuCopier copier) {
    copiers.remove(copier);
  }

  /** QEMU's own filter is one; the copier's, which every copy has, the second. */
  private boolean isConfined() throws IOException {
    for (String line : Files.readAllLines(Path.of("/proc/" + process.pid() + "/status"))) {
      if (line.startsWith("Seccomp_filters:")) {
        return Integer.parseInt(line.replaceAll("\\D", "")) > 1;
      }
    }
    return false;
  }

  /** The VM in a copy of this one's process. */
  QemuVm copied(
      VmName copyName,
      VmProcess copy,
      SocketChannel control,
      SocketChannel copyAgent,
      DiskChain copyDisk,
      QemuDescriptors descriptors)
      throws IOException {
    AtomicReference<CompletableFuture<String>> copyMerge =
        new AtomicReference<>(new CompletableFuture<>());
    return new QemuVm(
        copyName,
        QemuProcess.copied(copyName, copy),
        new QmpClient(copyName.id(), control, event -> hear(event, copyMerge)),
        copyAgent,
        memory.of(copyName.id(), copy.pid()),
        copyDisk,
        copyMerge,
        new Copying(copying.helpers(), Optional.of(descriptors)));
  }

  /** Hears what QEMU tells unasked; only the end of a merge matters. */
  static void hear(JsonNode event, AtomicReference<CompletableFuture<String>> merge) {
    if (event.path("event").asString().equals("BLOCK_JOB_COMPLETED")
        && event.path("data").path("device").asString().equals(MERGE_JOB)) {
      merge.get().complete(event.path("data").path("error").asString(""));
    }
  }

  @Override
  public VmProcess process() {
    return process;
  }

  @Override
  public SocketChannel agent() {
    return agent;
  }

  @Override
  public void execute(List<VmCommand> commands) {
    List<QmpClient.Command> sent = new ArrayList<>(commands.size());
    DiskChain chain = disk;
    for (VmCommand command : commands) {
      sent.add(toQmp(command, chain));
      chain = command.writesTo().map(chain::switchedTo).orElse(chain);
    }
    List<QmpClient.Reply> replies = qmp.callEach(sent);
    // Even when another command failed: a disk that was switched stays switched.
    for (int i = 0; i < replies.size(); i++) {
      if (replies.get(i) instanceof QmpClient.Reply.Returned) {
        disk = commands.get(i).writesTo().map(disk::switchedTo).orElse(disk);
      }
    }
    for (QmpClient.Reply reply : replies) {
      if (reply instanceof QmpClient.Reply.Refused(ForkdException error)) {
        throw error;
      }
    }
  }

  private static QmpClient.Command toQmp(VmCommand command, DiskChain chain) {
    return switch (command) {
      case VmCommand.Pause _ -> QmpClient.Command.of("stop");
      case VmCommand.Resume _ -> QmpClient.Command.of("cont");
      // Not live: the state is copied, the disks stay ours. It needs no Xen despite its name.
      case VmCommand.SaveDevices(var file) ->
          QmpClient.Command.of(
              "xen-save-devices-state", Map.of("filename", file.toString(), "live", false));
      case VmCommand.AddOverlay(DiskLayer overlay) ->
          QmpClient.Command.of("blockdev-add", QemuArguments.node(overlay, "", false));
      case VmCommand.SwitchOverlay(DiskLayer overlay) ->
          QmpClient.Command.of(
              "blockdev-snapshot",
              Map.of(
                  "node",
                  QemuArguments.nodeName(chain.active()),
                  "overlay",
                  QemuArguments.nodeName(overlay)));
      // It inherits the open flags of the layer below, those about flushes among them.
      case VmCommand.StackOverlay(DiskLayer overlay) ->
          QmpClient.Command.of(
              "blockdev-snapshot-sync",
              Map.of(
                  "node-name",
                  QemuArguments.nodeName(chain.active()),
                  "snapshot-file",
                  overlay.path().toString(),
                  "snapshot-node-name",
                  QemuArguments.nodeName(overlay),
                  "mode",
                  "existing"));
      case VmCommand.DropOverlay(DiskLayer overlay) ->
          QmpClient.Command.of(
              "blockdev-del", Map.of("node-name", QemuArguments.nodeName(overlay)));
    };
  }

  @Override
  public boolean paused() {
    return !qmp.call(QmpClient.Command.of("query-status")).path("running").asBoolean();
  }

  @Override
  public GuestMemory memory() {
    return memory;
  }

  @Override
  public DiskChain disk() {
    return disk;
  }

  @Override
  public void mergeDisk(DiskLayer keep, Duration timeout) {
    CompletableFuture<String> done = new CompletableFuture<>();
    merge.set(done);
    qmp.call(
        "block-stream",
        Map.of(
            "job-id",
            MERGE_JOB,
            "device",
            QemuArguments.nodeName(disk.active()),
            "base-node",
            QemuArguments.nodeName(keep)));
    try {
      String error = done.get(timeout.toMillis(), TimeUnit.MILLISECONDS);
      if (!error.isEmpty()) {
        throw new ForkdException(
            ErrorCode.INTERNAL, "merge the disk layers of " + name.id() + ": " + error);
      }
    } catch (TimeoutException e) {
      qmp.call("block-job-cancel", Map.of("device", MERGE_JOB));
      throw new ForkdException(
          ErrorCode.DEADLINE_EXCEEDED,
          "merging the disk layers of "
              + name.id()
              + " took longer than "
              + timeout.toSeconds()
              + " s and was cancelled",
          e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted in a merge of " + name.id(), e);
    } catch (ExecutionException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "merge of " + name.id(), e.getCause());
    }
    List<DiskLayer> kept = disk.base().subList(0, disk.base().indexOf(keep) + 1);
    disk = new DiskChain(kept, disk.active());
  }

  @Override
  public String console() {
    if (handle.isAlive()) {
      try {
        JsonNode text =
            qmp.call(
                "ringbuf-read",
                Map.of("device", "console", "size", QemuConsole.MAX_CHARS, "format", "base64"));
        console.append(
            new String(
                java.util.Base64.getDecoder().decode(text.asString("")),
                java.nio.charset.StandardCharsets.ISO_8859_1));
      } catch (ForkdException e) {
        // A booted VM's console is a pipe, followed all the time; a dead one has said its last.
        return console.text();
      }
    }
    return console.text();
  }

  @Override
  public CompletableFuture<VmExit> exit() {
    return exit;
  }

  @Override
  public void kill() {
    handle.destroyForcibly();
    copiers.forEach(QemuCopier::release);
    copiers.clear();
    try {
      if (!new ProcessIdentity(process.pid(), process.startTicks()).awaitEnd(KILL_TIMEOUT)) {
        throw new ForkdException(
            ErrorCode.INTERNAL,
            "process "
                + process.pid()
                + " of "
                + name.id()
                + " survives SIGKILL; is its disk stuck?");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while killing " + name.id(), e);
    } finally {
      if (copying.descriptors().isPresent()) {
        Children.reap(process.pid());
      }
      close();
    }
    removeSockets(name);
    QemuProcess.removeLog(name);
  }

  static void removeSockets(VmName name) {
    try {
      Files.deleteIfExists(name.controlSocket());
      Files.deleteIfExists(name.agentSocket());
      Files.deleteIfExists(name.incomingSocket());
    } catch (IOException e) {
      throw new UncheckedIOException("remove the sockets of " + name.id(), e);
    }
  }

  @Override
  public void close() {
    qmp.close();
    try {
      agent.close();
    } catch (IOException e) {
      throw new UncheckedIOException("close the agent socket of " + name.id(), e);
    }
    memory.close();
  }
}
