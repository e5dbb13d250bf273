package dev.forkd.branch;

import dev.forkd.engine.BranchSpec;
import dev.forkd.memory.MemoryImage;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;

/**
 * Takes memory and device state while the VM stands still: works with every monitor, and costs a
 * pause as long as the copy.
 */
final class InPauseTaking implements StateTaking {
  private final RunningVm vm;
  private final MemoryCopy copy;
  private final Path devices;
  private final boolean stagesInPause;

  InPauseTaking(RunningVm vm, MemoryCopy copy, Path devices, BranchSpec.Mode mode) {
    this.vm = vm;
    this.copy = copy;
    this.devices = devices;
    this.stagesInPause = mode == BranchSpec.Mode.FULL || mode == BranchSpec.Mode.MEASURE_DIFF;
  }

  @Override
  public void prepare(RunningVm source) {
    copy.prepare(source.memory());
  }

  @Override
  public boolean pause(RunningVm source, DiskLayer overlay, boolean resume) {
    source.execute(
        List.of(
            new VmCommand.Pause(),
            new VmCommand.SaveDevices(devices),
            new VmCommand.SwitchOverlay(overlay)));
    copy.copy(source.memory());
    if (stagesInPause) {
      copy.stageFlat(source.memory());
    }
    return false;
  }

  @Override
  public MemoryImage store(Path folder) {
    return copy.store(vm.memory(), stagesInPause);
  }

  @Override
  public void completed(SnapshotManifest manifest) {}

  @Override
  public OptionalLong diffMillis() {
    return copy.diffMillis();
  }

  @Override
  public OptionalLong diffBytes() {
    return copy.diffBytes();
  }

  @Override
  public void close() {
    copy.close();
  }
}
