package dev.forkd.branch;

import dev.forkd.fork.Zygotes;
import dev.forkd.memory.MemoryImage;
import dev.forkd.sandbox.SandboxRecord;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import dev.forkd.vmm.VmCopier;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Copies the VM's process in the pause, and takes memory and device state from that twin while the
 * source runs on: the pause costs page tables, however much the guest has written and writes. The
 * twin then stays as the zygote of the snapshot's children.
 */
final class TwinTaking implements StateTaking {
  private final Zygotes zygotes;
  private final SandboxRecord source;
  private final MemoryCopy copy;
  private final String twinId = Zygotes.newId();
  private Optional<VmCopier> copier = Optional.empty();
  private Optional<VmCopier.PendingVm> pending = Optional.empty();
  private Optional<RunningVm> twin = Optional.empty();

  TwinTaking(Zygotes zygotes, SandboxRecord source, MemoryCopy copy) {
    this.zygotes = zygotes;
    this.source = source;
    this.copy = copy;
  }

  @Override
  public void prepare(RunningVm vm) {
    copier = Optional.of(vm.copier(false));
  }

  @Override
  public boolean pause(RunningVm vm, DiskLayer overlay, boolean resume) {
    VmCopier copying = copier.orElseThrow();
    vm.execute(new VmCommand.Pause());
    copying.freeze();
    try {
      pending = Optional.of(copying.copy());
    } finally {
      copying.thaw();
    }
    vm.execute(
        resume
            ? List.of(new VmCommand.SwitchOverlay(overlay), new VmCommand.Resume())
            : List.of(new VmCommand.SwitchOverlay(overlay)));
    return resume;
  }

  @Override
  public MemoryImage store(Path devices) {
    RunningVm vm = zygotes.finishTwin(pending.orElseThrow(), twinId);
    twin = Optional.of(vm);
    copier.ifPresent(VmCopier::close);
    copier = Optional.empty();
    vm.execute(new VmCommand.SaveDevices(devices));
    copy.prepare(vm.memory());
    copy.copy(vm.memory());
    return copy.store(vm.memory(), false);
  }

  @Override
  public void completed(SnapshotManifest manifest) {
    RunningVm vm = twin.orElseThrow();
    twin = Optional.empty();
    zygotes.adopt(
        twinId,
        manifest,
        vm,
        source.mappedImage().orElse(source.memory().getFirst().id()),
        source.ramInode());
  }

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
    try {
      pending.ifPresent(VmCopier.PendingVm::close);
      copier.ifPresent(VmCopier::close);
      twin.ifPresent(vm -> zygotes.discardTwin(vm, twinId));
    } finally {
      copy.close();
    }
  }
}
