package dev.forkd.local;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.GuestMemory;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.VmExit;
import dev.forkd.vmm.VmProcess;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.StandardProtocolFamily;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * The VM of a sandbox of which only its reason to have failed is left. It has ended long ago:
 * ending it is harmless, and everything else is refused.
 */
final class GoneVm implements RunningVm, GuestMemory {
  private final String id;
  private final DiskChain disk;
  private final long memoryBytes;
  private final SocketChannel agent;

  /**
   * @param disk as it was; its overlay may be gone
   */
  GoneVm(String id, DiskChain disk, long memoryBytes) {
    this.id = id;
    this.disk = disk;
    this.memoryBytes = memoryBytes;
    try {
      this.agent = SocketChannel.open(StandardProtocolFamily.UNIX);
      this.agent.close();
    } catch (IOException e) {
      throw new UncheckedIOException("make a socket for " + id, e);
    }
  }

  private ForkdException gone() {
    return new ForkdException(
        ErrorCode.UNAVAILABLE, "sandbox " + id + " has no VM any more; kill it and fork again");
  }

  /** Of no process. */
  @Override
  public VmProcess process() {
    return new VmProcess(0, 0);
  }

  /** A closed one. */
  @Override
  public SocketChannel agent() {
    return agent;
  }

  @Override
  public void execute(List<VmCommand> commands) {
    throw gone();
  }

  @Override
  public boolean paused() {
    return true;
  }

  @Override
  public GuestMemory memory() {
    return this;
  }

  @Override
  public long sizeBytes() {
    return memoryBytes;
  }

  @Override
  public PageRuns diverged() {
    throw gone();
  }

  @Override
  public long ownBytes() {
    return 0;
  }

  @Override
  public void read(PageRuns pages, PageBuffer into) {
    throw gone();
  }

  @Override
  public DiskChain disk() {
    return disk;
  }

  @Override
  public void mergeDisk(DiskLayer keep, Duration timeout) {
    throw gone();
  }

  @Override
  public VmCopier copier(boolean owned) {
    throw gone();
  }

  @Override
  public String console() {
    return "";
  }

  @Override
  public CompletableFuture<VmExit> exit() {
    return CompletableFuture.completedFuture(new VmExit("it ended under a former daemon"));
  }

  @Override
  public void kill() {}

  @Override
  public void close() {}
}
