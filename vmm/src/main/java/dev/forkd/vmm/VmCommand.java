package dev.forkd.vmm;

import java.nio.file.Path;
import java.util.Optional;

/**
 * What can be asked of a running VM. A driver switches over this without a default, so that a new
 * command does not compile until every driver has decided about it.
 */
public sealed interface VmCommand {
  /** Any time. Stops the vCPUs; opens the pause window. Harmless when stopped. */
  record Pause() implements VmCommand {}

  /** Any time. Lets the vCPUs run. Harmless when running. */
  record Resume() implements VmCommand {}

  /**
   * Only while paused. Writes the state of the devices and vCPUs, without memory, to a new file.
   */
  record SaveDevices(Path file) implements VmCommand {}

  /**
   * Any time, best before the pause. Opens an empty overlay without using it: most of a disk fork's
   * time is this.
   */
  record AddOverlay(DiskLayer overlay) implements VmCommand {}

  /** Only while paused, after {@link AddOverlay}. From now on writes go to the overlay. */
  record SwitchOverlay(DiskLayer overlay) implements VmCommand {}

  /**
   * Only while paused. Opens an empty overlay and uses it at once: half of what {@link AddOverlay}
   * and {@link SwitchOverlay} cost together, but all of it while the VM stands.
   */
  record StackOverlay(DiskLayer overlay) implements VmCommand {}

  /** After {@link AddOverlay}, instead of {@link SwitchOverlay}: closes the unused overlay. */
  record DropOverlay(DiskLayer overlay) implements VmCommand {}

  /** The layer the guest writes to once this is done, if it changes that. */
  default Optional<DiskLayer> writesTo() {
    return switch (this) {
      case SwitchOverlay(DiskLayer overlay) -> Optional.of(overlay);
      case StackOverlay(DiskLayer overlay) -> Optional.of(overlay);
      case Pause _, Resume _, SaveDevices _, AddOverlay _, DropOverlay _ -> Optional.empty();
    };
  }
}
