package dev.forkd.vmm;

import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * A VM with a process. One owner at a time issues commands: the engine's sandbox holds its lock
 * around every call but {@link #kill}, {@link #exit} and {@link #process}.
 */
public interface RunningVm extends AutoCloseable {

  /** The VMM's process. */
  VmProcess process();

  /** The byte stream to the guest agent; connected before the guest first runs. */
  SocketChannel agent();

  /**
   * Runs commands in order, sent together so that a pause window costs one round trip. The first
   * failure is thrown; what came before it has happened, what comes after it may have.
   */
  void execute(List<VmCommand> commands);

  /** One command. */
  default void execute(VmCommand command) {
    execute(List.of(command));
  }

  /** Whether the vCPUs are stopped, as the monitor says. */
  boolean paused();

  /** Guest memory as seen from the host. */
  GuestMemory memory();

  /** The disk chain in use, as this driver last set it. */
  DiskChain disk();

  /**
   * Copies all layers between {@code keep} (exclusive) and the overlay into the overlay. Blocks.
   */
  void mergeDisk(DiskLayer keep, Duration timeout);

  /**
   * Prepares to copy this VM's process. Takes some milliseconds; nothing is stopped yet.
   *
   * @param owned the copier has the VM for good: closing the copier, or the end of this process,
   *     ends the VM
   * @throws dev.forkd.api.ForkdException UNIMPLEMENTED where processes cannot be copied
   */
  VmCopier copier(boolean owned);

  /** The end of the guest's console output, at most 64 KiB. */
  String console();

  /** Completes when the process is gone. */
  CompletableFuture<VmExit> exit();

  /** Ends the VM at once and waits for its process to vanish. Harmless when it is gone. */
  void kill();

  /** Lets go of the VM without ending it; the next owner attaches. */
  @Override
  void close();
}
