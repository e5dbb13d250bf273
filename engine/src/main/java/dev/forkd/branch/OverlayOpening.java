package dev.forkd.branch;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * A new overlay that is opened in a VM beside whatever else a branch has to prepare. Closing it
 * closes the overlay, unless the VM writes to it by then.
 */
final class OverlayOpening implements AutoCloseable {
  /** QEMU answers within milliseconds; its own client gives up earlier. */
  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  private final RunningVm vm;
  private final DiskLayer overlay;
  private final CompletableFuture<Boolean> opened = new CompletableFuture<>();

  /**
   * Begins.
   *
   * @param make makes the overlay's file
   */
  OverlayOpening(RunningVm vm, DiskLayer overlay, Runnable make) {
    this.vm = vm;
    this.overlay = overlay;
    Threads.virtual(
        "overlay-" + overlay.id(),
        () -> {
          try {
            make.run();
            vm.execute(new VmCommand.AddOverlay(overlay));
            opened.complete(true);
          } catch (RuntimeException e) {
            opened.completeExceptionally(e);
          }
        });
  }

  /** Waits until it is open. */
  void await() {
    try {
      opened.get(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
    } catch (ExecutionException e) {
      throw e.getCause() instanceof ForkdException known
          ? known
          : new ForkdException(ErrorCode.INTERNAL, "open " + overlay.path(), e.getCause());
    } catch (TimeoutException e) {
      throw new ForkdException(
          ErrorCode.DEADLINE_EXCEEDED,
          "the overlay "
              + overlay.path()
              + " could not be opened within "
              + TIMEOUT.toSeconds()
              + " s",
          e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while branching", e);
    }
  }

  @Override
  public void close() {
    try {
      await();
    } catch (ForkdException e) {
      // It never was open.
      return;
    }
    if (!vm.disk().active().equals(overlay)) {
      try {
        vm.execute(new VmCommand.DropOverlay(overlay));
      } catch (ForkdException e) {
        // The VM has ended, or is just ending.
        System.getLogger(OverlayOpening.class.getName())
            .log(System.Logger.Level.DEBUG, "drop overlay {0}: {1}", overlay.id(), e.message());
      }
    }
  }
}
