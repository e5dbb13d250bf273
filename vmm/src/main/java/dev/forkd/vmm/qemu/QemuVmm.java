package dev.forkd.vmm.qemu;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.Memfd;
import dev.forkd.vmm.AttachSpec;
import dev.forkd.vmm.BootSpec;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.Isolation;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import dev.forkd.vmm.VmProcess;
import dev.forkd.vmm.Vmm;
import dev.forkd.vmm.VmmCapabilities;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.FileChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.LongConsumer;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Drives a stock QEMU, 7.2 or newer, with KVM where it works and in emulation elsewhere. */
public final class QemuVmm implements Vmm {
  /** From the process's start to its sockets; seconds only on a machine with far too much to do. */
  private static final Duration START_TIMEOUT = Duration.ofSeconds(30);

  private static final Duration LOAD_TIMEOUT = Duration.ofSeconds(30);
  private static final long POLL_NANOS = 500_000;
  private static final String JSON_NAME = "json:";
  private static final int MAX_SOCKET_PATH_BYTES = 107;

  private final QemuInstallation qemu;
  private final Optional<CopyHelpers> copyHelpers;
  private final VmmCapabilities capabilities;

  /**
   * Looks at the QEMU and tries what it can do.
   *
   * @param probeMemory file that remembers the result of the KVM probe until the host boots again
   * @param copyHelper the program {@code vmfork}; without it no process is copied
   * @throws ForkdException FAILED_PRECONDITION when there is no QEMU or it is too old
   */
  public QemuVmm(QemuInstallation qemu, Path probeMemory, Optional<Path> copyHelper) {
    this.qemu = qemu;
    String version = QemuProbe.version(qemu);
    Isolation isolation = QemuProbe.isolation(qemu, probeMemory);
    this.copyHelpers =
        isolation == Isolation.EMULATION ? copyHelper.map(CopyHelpers::new) : Optional.empty();
    this.capabilities =
        new VmmCapabilities(
            "QEMU",
            version,
            isolation,
            QemuArguments.machineHash(isolation),
            copyObstacle(isolation, copyHelper));
  }

  private static Optional<String> copyObstacle(Isolation isolation, Optional<Path> copyHelper) {
    if (isolation == Isolation.KVM) {
      return Optional.of("a VM under KVM belongs to the one process that made it");
    }
    return copyHelper.isPresent() ? Optional.empty() : Optional.of("there is no vmfork program");
  }

  @Override
  public VmmCapabilities capabilities() {
    return capabilities;
  }

  @Override
  public void close() {
    copyHelpers.ifPresent(CopyHelpers::close);
  }

  @Override
  public RunningVm boot(BootSpec spec) {
    List<String> command =
        QemuArguments.boot(qemu.binary(), qemu.arguments(), capabilities.isolation(), spec);
    return start(
        spec.name(), spec.hardware(), spec.disk(), spec.ram(), command, true, _ -> {}, _ -> {});
  }

  @Override
  public RunningVm restore(RestoreSpec spec) {
    List<String> command =
        QemuArguments.restore(qemu.binary(), qemu.arguments(), capabilities.isolation(), spec);
    return start(
        spec.name(),
        spec.hardware(),
        spec.disk(),
        spec.ram(),
        command,
        false,
        spec.started(),
        qmp -> load(qmp, spec));
  }

  /** What a start does once it can talk to QEMU. */
  private interface Loading {
    void run(QmpClient qmp) throws IOException;
  }

  private RunningVm start(
      VmName name,
      VmHardware hardware,
      DiskChain disk,
      Memfd ram,
      List<String> command,
      boolean boot,
      LongConsumer started,
      Loading loading) {
    checkSocketPath(name);
    QemuVm.removeSockets(name);
    QemuProcess process = QemuProcess.start(qemu, name, command, ram.path(), boot);
    List<AutoCloseable> opened = new ArrayList<>();
    try {
      started.accept(process.identity().pid());
      AtomicReference<CompletableFuture<String>> merge =
          new AtomicReference<>(new CompletableFuture<>());
      SocketChannel agent = connect(name, name.agentSocket(), process);
      opened.add(agent);
      QmpClient qmp =
          new QmpClient(
              name.id(),
              connect(name, name.controlSocket(), process),
              event -> QemuVm.hear(event, merge));
      opened.add(qmp);
      qmp.negotiate(START_TIMEOUT);
      loading.run(qmp);
      QemuMemory memory =
          QemuMemory.open(name.id(), process.identity().pid(), ram.inode(), hardware.memoryBytes());
      return new QemuVm(name, process, qmp, agent, memory, disk, merge, copying());
    } catch (IOException | RuntimeException e) {
      process.handle().destroyForcibly();
      closeAll(opened, e);
      QemuVm.removeSockets(name);
      String tail = QemuProcess.logTail(name, "; it says: ");
      QemuProcess.removeLog(name);
      if (!qemu.isThere()) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION, qemu.missing("start " + name.id()), e);
      }
      if (e instanceof ForkdException known) {
        throw new ForkdException(known.code(), known.message() + tail, known);
      }
      throw new ForkdException(
          ErrorCode.INTERNAL, "start QEMU for " + name.id() + ": " + e.getMessage() + tail, e);
    }
  }

  static void closeAll(List<AutoCloseable> opened, Exception because) {
    for (AutoCloseable one : opened) {
      try {
        one.close();
      } catch (Exception e) {
        because.addSuppressed(e);
      }
    }
  }

  /** Feeds saved device state in as a migration without memory. */
  private static void load(QmpClient qmp, RestoreSpec spec) throws IOException {
    VmName name = spec.name();
    qmp.call("migrate-incoming", Map.of("uri", "unix:" + name.incomingSocket()));
    try (SocketChannel stream =
            SocketChannel.open(UnixDomainSocketAddress.of(name.incomingSocket()));
        FileChannel devices = FileChannel.open(spec.devices(), StandardOpenOption.READ)) {
      long size = devices.size();
      for (long sent = 0; sent < size; ) {
        sent += devices.transferTo(sent, size - sent, stream);
      }
    }
    long deadline = System.nanoTime() + LOAD_TIMEOUT.toNanos();
    while (status(qmp).equals("inmigrate")) {
      if (System.nanoTime() > deadline) {
        throw new ForkdException(
            ErrorCode.DEADLINE_EXCEEDED,
            "QEMU of "
                + name.id()
                + " did not load its devices within "
                + LOAD_TIMEOUT.toSeconds()
                + " s");
      }
      pause();
    }
    Files.deleteIfExists(name.incomingSocket());
  }

  private static String status(QmpClient qmp) {
    return qmp.call(QmpClient.Command.of("query-status")).path("status").asString();
  }

  @Override
  public RunningVm attach(AttachSpec spec) {
    VmName name = spec.name();
    QemuProcess process = QemuProcess.adopt(name, new VmProcess(spec.pid(), spec.startTicks()));
    List<AutoCloseable> opened = new ArrayList<>();
    try {
      AtomicReference<CompletableFuture<String>> merge =
          new AtomicReference<>(new CompletableFuture<>());
      SocketChannel agent = connect(name, name.agentSocket(), process);
      opened.add(agent);
      QmpClient qmp =
          new QmpClient(
              name.id(),
              connect(name, name.controlSocket(), process),
              event -> QemuVm.hear(event, merge));
      opened.add(qmp);
      qmp.onGone(() -> process.lookForEnd(name));
      qmp.negotiate(START_TIMEOUT);
      requireOwn(name, spec.pid());
      QemuMemory memory =
          QemuMemory.open(name.id(), spec.pid(), spec.ramInode(), spec.hardware().memoryBytes());
      return new QemuVm(
          name, process, qmp, agent, memory, actualDisk(qmp, spec.disk()), merge, copying());
    } catch (IOException | RuntimeException e) {
      closeAll(opened, e);
      if (e instanceof ForkdException known) {
        throw known;
      }
      throw new ForkdException(
          ErrorCode.UNAVAILABLE, "attach to " + name.id() + ": " + e.getMessage(), e);
    }
  }

  private QemuVm.Copying copying() {
    return new QemuVm.Copying(copyHelpers, Optional.empty());
  }

  /**
   * Asking QEMU for its name would not do: a copy knows only that of the process it was copied
   * from. Who holds the sockets that are bound to this VM's paths is this VM.
   */
  private static void requireOwn(VmName name, int pid) throws IOException {
    try {
      QemuDescriptors.find(name, pid);
    } catch (NoSuchFileException e) {
      throw e;
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.NOT_FOUND,
          "the process behind "
              + name.controlSocket()
              + " is not "
              + pid
              + ", the one of "
              + name.id()
              + ": "
              + e.getMessage(),
          e);
    }
  }

  /**
   * The chain QEMU really uses: the former owner may have died between switching the disk and
   * writing that down.
   */
  private static DiskChain actualDisk(QmpClient qmp, DiskChain believed) {
    JsonNode inserted = qmp.call(QmpClient.Command.of("query-block")).path(0).path("inserted");
    List<DiskLayer> layers = new ArrayList<>();
    for (JsonNode image = inserted.path("image");
        image.has("filename");
        image = image.path("backing-image")) {
      layers.add(layer(imageFile(image.path("filename").asString()), image));
    }
    return layers.isEmpty()
        ? believed
        : new DiskChain(layers.subList(1, layers.size()).reversed(), layers.getFirst());
  }

  /**
   * The file of an image. QEMU names it plainly only where the name says all; a layer whose backing
   * was given as a node is named by its description.
   */
  static Path imageFile(String shown) {
    if (!shown.startsWith(JSON_NAME)) {
      return Path.of(shown);
    }
    JsonNode described = JsonMapper.shared().readTree(shown.substring(JSON_NAME.length()));
    // A raw image may be described by its protocol layer alone.
    JsonNode file = described.path("file").path("filename");
    return Path.of((file.isMissingNode() ? described.path("filename") : file).asString());
  }

  private static DiskLayer layer(Path file, JsonNode image) {
    String fileName = String.valueOf(file.getFileName());
    int dot = fileName.lastIndexOf('.');
    return new DiskLayer(
        dot < 0 ? fileName : fileName.substring(0, dot),
        file,
        image.path("format").asString().equals("qcow2")
            ? DiskLayer.Format.QCOW2
            : DiskLayer.Format.RAW);
  }

  static void checkSocketPath(VmName name) {
    if (name.incomingSocket().toString().length() > MAX_SOCKET_PATH_BYTES) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "socket path '"
              + name.incomingSocket()
              + "' is longer than "
              + MAX_SOCKET_PATH_BYTES
              + " bytes: set XDG_RUNTIME_DIR to a shorter folder");
    }
  }

  /** Connects to a socket that QEMU is about to make. */
  private static SocketChannel connect(VmName name, Path socket, QemuProcess process)
      throws IOException {
    long deadline = System.nanoTime() + START_TIMEOUT.toNanos();
    while (true) {
      SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
      try {
        channel.connect(UnixDomainSocketAddress.of(socket));
        return channel;
      } catch (IOException e) {
        channel.close();
        if (!process.handle().isAlive()) {
          throw new ForkdException(
              ErrorCode.INTERNAL, "QEMU of " + name.id() + " ended while starting", e);
        }
        if (System.nanoTime() > deadline) {
          throw new ForkdException(
              ErrorCode.DEADLINE_EXCEEDED,
              "QEMU of "
                  + name.id()
                  + " opened no socket within "
                  + START_TIMEOUT.toSeconds()
                  + " s",
              e);
        }
      }
      pause();
    }
  }

  private static void pause() {
    java.util.concurrent.locks.LockSupport.parkNanos(POLL_NANOS);
    if (Thread.currentThread().isInterrupted()) {
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while starting QEMU");
    }
  }
}
