package dev.forkd.vmm.qemu;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.VmName;
import dev.forkd.vmm.VmProcess;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Copies a QEMU process by {@link CopyHelper}. The copy's connections are new ones: it connects,
 * from within, to a socket we listen on, and its listening sockets are bound to its own paths.
 */
final class QemuCopier implements VmCopier {
  private static final int STDOUT = 1;
  private static final int STDERR = 2;
  private static final int CONNECTIONS = 2;

  private final QemuVm source;
  private final QemuDescriptors descriptors;
  private final CopyHelper helper;
  private final boolean owned;

  /** Whether copies of the source have their system calls restricted by inheritance. */
  private final boolean confined;

  private final ReentrantLock lock = new ReentrantLock();

  QemuCopier(
      QemuVm source,
      QemuDescriptors descriptors,
      CopyHelper helper,
      boolean owned,
      boolean confined) {
    this.source = source;
    this.descriptors = descriptors;
    this.helper = helper;
    this.owned = owned;
    this.confined = confined;
  }

  @Override
  public void freeze() {
    ask(List.of("freeze"));
  }

  @Override
  public void thaw() {
    ask(List.of("thaw"));
  }

  private int ask(List<String> words) {
    lock.lock();
    try {
      return helper.ask(words);
    } finally {
      lock.unlock();
    }
  }

  @Override
  public PendingVm copy() {
    DiskChain disk = source.disk();
    int pid = ask(List.of("copy"));
    return new Pending(new VmProcess(pid, ProcessIdentity.of(pid).startTicks()), disk);
  }

  /** A process between copy and finish. */
  private final class Pending implements PendingVm {
    private final VmProcess process;
    private final DiskChain disk;
    private boolean finished;

    Pending(VmProcess process, DiskChain disk) {
      this.process = process;
      this.disk = disk;
    }

    @Override
    public VmProcess process() {
      return process;
    }

    @Override
    public RunningVm finish(VmName name) {
      finished = true;
      QemuVmm.checkSocketPath(name);
      QemuVm.removeSockets(name);
      List<AutoCloseable> opened = new ArrayList<>();
      try (ServerSocketChannel meeting =
          ServerSocketChannel.open(StandardProtocolFamily.UNIX)
              .bind(UnixDomainSocketAddress.of(name.incomingSocket()), CONNECTIONS)) {
        ask(words(name));
        // Both have connected before the helper answers, in this order.
        SocketChannel control = meeting.accept();
        opened.add(control);
        SocketChannel agent = meeting.accept();
        opened.add(agent);
        QemuVm vm = source.copied(name, process, control, agent, disk, descriptors);
        Files.deleteIfExists(name.incomingSocket());
        return vm;
      } catch (IOException | RuntimeException e) {
        new ProcessIdentity(process.pid(), process.startTicks()).signal(true);
        QemuVmm.closeAll(opened, e);
        QemuVm.removeSockets(name);
        QemuProcess.removeLog(name);
        throw e instanceof ForkdException known
            ? known
            : new ForkdException(
                ErrorCode.INTERNAL, "copy a VM to " + name.id() + ": " + e.getMessage(), e);
      }
    }

    private List<String> words(VmName name) {
      List<String> words = new ArrayList<>();
      words.add("finish");
      words.addAll(connection("connect", descriptors.control(), name.incomingSocket().toString()));
      words.addAll(connection("connect", descriptors.agent(), name.incomingSocket().toString()));
      words.addAll(
          connection("listen", descriptors.controlListener(), name.controlSocket().toString()));
      words.addAll(
          connection("listen", descriptors.agentListener(), name.agentSocket().toString()));
      words.addAll(connection("log", STDOUT, name.log().toString()));
      words.addAll(connection("log", STDERR, name.log().toString()));
      words.addAll(List.of("name", source.name().id(), name.id()));
      if (!confined) {
        words.add("confine");
      }
      return words;
    }

    private static List<String> connection(String kind, int descriptor, String path) {
      return List.of(kind, Integer.toString(descriptor), path);
    }

    @Override
    public void close() {
      if (!finished) {
        finished = true;
        ask(List.of("abort"));
      }
    }
  }

  /** Lets go of the process, whoever ends it. */
  void release() {
    lock.lock();
    try {
      helper.close();
    } finally {
      lock.unlock();
    }
  }

  @Override
  public void close() {
    source.forget(this);
    release();
    if (owned) {
      source.kill();
    }
  }
}
