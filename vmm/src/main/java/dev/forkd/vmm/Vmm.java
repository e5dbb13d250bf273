package dev.forkd.vmm;

/**
 * A virtual machine monitor on this host. Its life with one microVM has two phases and two types: a
 * spec describes a VM that is not there yet ({@link BootSpec}, {@link RestoreSpec}); a {@link
 * RunningVm} is one that is. What only makes sense before the start cannot be said after it.
 *
 * <p>All methods block, may be called from any virtual thread, and throw {@link
 * dev.forkd.api.ForkdException}. A call that fails leaves no process, socket or file behind.
 */
public interface Vmm extends AutoCloseable {

  /** What this monitor is and which isolation it gives on this host. */
  VmmCapabilities capabilities();

  /** Starts a VM from its kernel; its vCPUs run when this returns. */
  RunningVm boot(BootSpec spec);

  /**
   * Starts a VM from saved state; its vCPUs have not run a single instruction when this returns.
   */
  RunningVm restore(RestoreSpec spec);

  /**
   * Takes over a VM that outlived its former owner.
   *
   * @throws dev.forkd.api.ForkdException NOT_FOUND when the process is gone or is not this VM
   */
  RunningVm attach(AttachSpec spec);

  /** Ends what is kept ready for VMs to come; those that are there go on. */
  @Override
  void close();
}
