package dev.forkd.vmm;

/**
 * Copies the process of a paused VM: memory copy-on-write, devices, and whatever the monitor has
 * prepared to run fast. A copy costs the time to copy page tables, whatever the guest has done.
 *
 * <p>Between {@link #freeze} and {@link #thaw} the source answers no command. Methods block, throw
 * {@link dev.forkd.api.ForkdException}, and may be called from any thread; calls wait for each
 * other.
 */
public interface VmCopier extends AutoCloseable {

  /** Only while the VM is paused: stops the monitor's own threads as well. */
  void freeze();

  /**
   * Only while frozen: takes the copy. When this returns the source may be thawed and go on; the
   * copy is as of this moment. One copy at a time: finish or close it before the next.
   */
  PendingVm copy();

  /** Lets the monitor go on. Harmless when it is not frozen. */
  void thaw();

  /** Thaws the source, or ends it when the copier owns it; ends an unfinished copy. */
  @Override
  void close();

  /** A copy that has no sockets, log or name of its own yet. Closing it ends it. */
  interface PendingVm extends AutoCloseable {
    /** Its process, stopped. */
    VmProcess process();

    /**
     * Makes it a VM like any other, paused. Its disk chain is the source's, overlay included: one
     * of the two has to be given another overlay before either runs.
     */
    RunningVm finish(VmName name);

    /** Ends it, unless it was finished. */
    @Override
    void close();
  }
}
