package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.disk.DiskLayers;
import dev.forkd.linux.Memfd;
import dev.forkd.linux.PageBuffer;
import dev.forkd.linux.PageRuns;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.template.BootAssets;
import dev.forkd.template.TemplateAssets;
import dev.forkd.vmm.AttachSpec;
import dev.forkd.vmm.BootSpec;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.RunningVm;
import dev.forkd.vmm.VmCommand;
import dev.forkd.vmm.VmCopier;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import dev.forkd.vmm.VmProcess;
import dev.forkd.vmm.Vmm;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What every monitor behind the port keeps, whether it has guests or not. */
abstract class VmmContract {
  private static final VmHardware HARDWARE = new VmHardware(128);
  private static final long DISK_BYTES = 64L << 20;

  @TempDir Path dir;
  private final List<RunningVm> started = new ArrayList<>();
  private DiskLayers layers;
  private DiskLayer root;

  abstract Vmm vmm();

  @BeforeEach
  void prepare() throws IOException {
    for (String folder : List.of("images", "staging", "run", "log")) {
      Files.createDirectories(dir.resolve(folder));
    }
    layers = new DiskLayers(dir.resolve("images"), dir.resolve("staging"));
    Path image = dir.resolve("staging/root.raw");
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(DISK_BYTES);
    }
    root = layers.adoptRoot("r1", image);
  }

  @AfterEach
  void killAll() {
    started.forEach(RunningVm::kill);
  }

  private VmName name(String id) {
    return new VmName(id, dir.resolve("run"));
  }

  private DiskChain disk(String overlay) {
    return new DiskChain(List.of(root), layers.newOverlay(overlay, DISK_BYTES));
  }

  private RunningVm boot(String id, Memfd memory) {
    BootAssets assets =
        new TemplateAssets(Lab.DATA_DIR, dev.forkd.template.ForkdHome.find())
            .bootAssets(line -> {});
    RunningVm vm =
        vmm()
            .boot(
                new BootSpec(
                    name(id),
                    HARDWARE,
                    memory,
                    disk("d" + id),
                    assets.kernel(),
                    assets.initramfs(),
                    "console=ttyS0 panic=-1 tsc_early_khz=" + assets.tscKhz()));
    started.add(vm);
    return vm;
  }

  /**
   * A machine saved while its firmware still runs does not come back: that a busy host is slow to
   * boot must not make it one.
   */
  private void awaitKernel(RunningVm vm) {
    if (vmm().capabilities().name().equals("fake")) {
      return;
    }
    Awaitility.await()
        .atMost(Duration.ofSeconds(60))
        .pollInterval(Duration.ofMillis(5))
        .until(() -> vm.console().contains("Linux version"));
  }

  /** A machine that was booted, stopped and saved; its memory is sealed. */
  private record Saved(Memfd memory, Path devices) {}

  private Saved saved() throws IOException {
    Memfd memory = Memfd.create("contract", HARDWARE.memoryBytes());
    RunningVm vm = boot("parent", memory);
    awaitKernel(vm);
    Path devices = dir.resolve("devices.bin");
    vm.execute(List.of(new VmCommand.Pause(), new VmCommand.SaveDevices(devices)));
    assertThat(devices).isNotEmptyFile();
    vm.kill();
    started.remove(vm);
    memory.seal();
    return new Saved(memory, devices);
  }

  private RunningVm restore(String id, Saved saved) {
    return restore(id, saved, false);
  }

  private RunningVm restore(String id, Saved saved, boolean copyable) {
    List<Long> pids = new ArrayList<>();
    RunningVm vm =
        vmm()
            .restore(
                new RestoreSpec(
                    name(id),
                    HARDWARE,
                    saved.memory(),
                    disk("d" + id),
                    saved.devices(),
                    pids::add,
                    copyable));
    started.add(vm);
    assertThat(pids).containsExactly((long) vm.process().pid());
    return vm;
  }

  /** A booted VM runs; pausing and resuming it any number of times is harmless. */
  @Test
  void pauseAndResume() throws Exception {
    try (Memfd memory = Memfd.create("contract", HARDWARE.memoryBytes())) {
      RunningVm vm = boot("one", memory);
      assertThat(vm.paused()).isFalse();
      vm.execute(List.of(new VmCommand.Pause(), new VmCommand.Pause()));
      assertThat(vm.paused()).isTrue();
      vm.execute(List.of(new VmCommand.Resume(), new VmCommand.Resume()));
      assertThat(vm.paused()).isFalse();
      assertThat(vm.agent().isConnected()).isTrue();
    }
  }

  /** Children of one saved state start paused, each with a process of its own. */
  @Test
  void restoredVmsStartPaused() throws Exception {
    Saved saved = saved();
    RunningVm first = restore("c1", saved);
    RunningVm second = restore("c2", saved);
    assertThat(first.paused()).isTrue();
    assertThat(second.paused()).isTrue();
    assertThat(first.process().pid()).isNotEqualTo(second.process().pid());
    assertThat(first.memory().sizeBytes()).isEqualTo(HARDWARE.memoryBytes());
    first.execute(new VmCommand.Resume());
    assertThat(first.paused()).isFalse();
    assertThat(second.paused()).isTrue();
    saved.memory().close();
  }

  /** Diverged pages can be read while the VM is paused, packed. */
  @Test
  void divergedPagesCanBeRead() throws Exception {
    Saved saved = saved();
    RunningVm vm = restore("c1", saved);
    vm.execute(new VmCommand.Resume());
    Thread.sleep(200);
    vm.execute(new VmCommand.Pause());
    PageRuns diverged = vm.memory().diverged();
    try (PageBuffer buffer = new PageBuffer()) {
      buffer.ensure(diverged.bytes());
      vm.memory().read(diverged, buffer);
    }
    assertThat(vm.memory().diverged()).isEqualTo(diverged);
    saved.memory().close();
  }

  /** A disk fork: opened before, switched in the pause; what was active is frozen below. */
  @Test
  void diskFork() throws Exception {
    Saved saved = saved();
    RunningVm vm = restore("c1", saved);
    DiskLayer before = vm.disk().active();
    DiskLayer overlay = layers.newOverlay("dnext", DISK_BYTES);
    vm.execute(new VmCommand.AddOverlay(overlay));
    assertThat(vm.disk().active()).isEqualTo(before);
    vm.execute(
        List.of(
            new VmCommand.Pause(),
            new VmCommand.SaveDevices(dir.resolve("again.bin")),
            new VmCommand.SwitchOverlay(overlay)));
    assertThat(vm.disk().active()).isEqualTo(overlay);
    assertThat(vm.disk().base()).endsWith(before);
    vm.execute(new VmCommand.Resume());
    vm.mergeDisk(root, Duration.ofMinutes(1));
    assertThat(vm.disk().base()).containsExactly(root);
    assertThat(vm.disk().active()).isEqualTo(overlay);
    saved.memory().close();
  }

  /** An overlay that was opened in vain is closed and can be opened again. */
  @Test
  void droppedOverlay() throws Exception {
    Saved saved = saved();
    RunningVm vm = restore("c1", saved);
    DiskLayer overlay = layers.newOverlay("dvain", DISK_BYTES);
    vm.execute(new VmCommand.AddOverlay(overlay));
    vm.execute(new VmCommand.DropOverlay(overlay));
    vm.execute(new VmCommand.AddOverlay(overlay));
    assertThatThrownBy(() -> vm.execute(new VmCommand.AddOverlay(overlay)))
        .isInstanceOf(ForkdException.class);
    saved.memory().close();
  }

  /** What was refused changes nothing: an overlay that nobody opened, one that is not there. */
  @Test
  void refusedSwitch() throws Exception {
    Saved saved = saved();
    RunningVm vm = restore("c1", saved);
    DiskChain before = vm.disk();
    assertThatThrownBy(() ->
            vm.execute(
                new VmCommand.StackOverlay(layers.layer("dmissing", DiskLayer.Format.QCOW2))))
        .isInstanceOf(ForkdException.class);
    assertThat(vm.disk()).isEqualTo(before);
    assertThatThrownBy(
            () -> vm.execute(new VmCommand.SwitchOverlay(layers.newOverlay("dnone", DISK_BYTES))))
        .isInstanceOf(ForkdException.class);
    assertThat(vm.disk()).isEqualTo(before);
    saved.memory().close();
  }

  /** The next owner finds the VM by process, start time and memory, and nothing else passes. */
  @Test
  void attach() throws Exception {
    Saved saved = saved();
    RunningVm vm = restore("c1", saved);
    VmProcess process = vm.process();
    DiskChain disk = vm.disk();
    long inode = saved.memory().inode();
    vm.close();
    started.remove(vm);
    RunningVm again =
        vmm()
            .attach(
                new AttachSpec(
                    name("c1"), HARDWARE, disk, process.pid(), process.startTicks(), inode));
    started.add(again);
    assertThat(again.process()).isEqualTo(process);
    assertThat(again.disk()).isEqualTo(disk);
    assertThat(again.paused()).isTrue();
    again.execute(new VmCommand.Resume());
    assertThat(again.paused()).isFalse();
    assertThatThrownBy(() ->
            vmm()
                .attach(
                    new AttachSpec(
                        name("c1"),
                        HARDWARE,
                        disk,
                        process.pid(),
                        process.startTicks() + 1,
                        inode)))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND));
    saved.memory().close();
  }

  /** Killing ends the process, completes its exit and removes its sockets; twice is harmless. */
  @Test
  void kill() throws Exception {
    Saved saved = saved();
    RunningVm vm = restore("c1", saved);
    vm.kill();
    assertThat(vm.exit().get(60, TimeUnit.SECONDS).reason()).isNotEmpty();
    assertThat(ProcessHandle.of(vm.process().pid())).isEmpty();
    assertThat(dir.resolve("run")).isEmptyDirectory();
    assertThatThrownBy(() -> vm.execute(new VmCommand.Resume())).isInstanceOf(ForkdException.class);
    vm.kill();
    saved.memory().close();
  }

  /** A restore that fails leaves no socket behind. */
  @Test
  void failedRestore() throws Exception {
    Saved saved = saved();
    assertThatThrownBy(() -> restore("c1", new Saved(saved.memory(), dir.resolve("missing.bin"))))
        .isInstanceOf(ForkdException.class);
    assertThat(dir.resolve("run")).isEmptyDirectory();
    saved.memory().close();
  }

  private RunningVm finish(VmCopier.PendingVm pending, String id) {
    RunningVm copy = pending.finish(name(id));
    started.add(copy);
    return copy;
  }

  /** Gives a copy an overlay of its own, as it must have before it runs. */
  private void ownOverlay(RunningVm copy, String id) {
    DiskLayer overlay = layers.newOverlay(id, DISK_BYTES);
    copy.execute(new VmCommand.StackOverlay(overlay));
    assertThat(copy.disk().active()).isEqualTo(overlay);
  }

  /**
   * Any number of copies of a stopped VM: each a process and a VM of its own, paused, with the
   * memory of its source; what one does the others do not see.
   */
  @Test
  void copies() throws Exception {
    Saved saved = saved();
    RunningVm source = restore("cp", saved, true);
    try (VmCopier copier = source.copier(true)) {
      copier.freeze();
      List<RunningVm> copies = new ArrayList<>();
      for (String id : List.of("c1", "c2", "c3")) {
        copies.add(finish(copier.copy(), id));
        ownOverlay(copies.getLast(), "d" + id);
      }
      assertThat(copies.stream().map(vm -> vm.process().pid()))
          .doesNotHaveDuplicates()
          .doesNotContain(source.process().pid());
      assertThat(copies).allMatch(RunningVm::paused);
      copies.getFirst().execute(new VmCommand.Resume());
      assertThat(copies.stream().map(RunningVm::paused)).containsExactly(false, true, true);
      assertThat(copies.getFirst().agent().isConnected()).isTrue();
      assertThat(copies.getFirst().disk().active().id()).isEqualTo("dc1");
      copies.getLast().kill();
      assertThat(ProcessHandle.of(copies.getLast().process().pid())).isEmpty();
      assertThat(copies.getFirst().paused()).isFalse();
    }
    assertThat(source.exit().get(60, TimeUnit.SECONDS).reason()).isNotEmpty();
    started.remove(source);
    saved.memory().close();
  }

  /** A running VM is copied in a pause and goes on; the copy stays as of that moment. */
  @Test
  void copyOfRunningVm() throws Exception {
    Saved saved = saved();
    RunningVm origin = restore("cp", saved, true);
    VmCopier first = origin.copier(true);
    first.freeze();
    RunningVm source = finish(first.copy(), "c1");
    ownOverlay(source, "dc1");
    source.execute(new VmCommand.Resume());
    Thread.sleep(100);
    try (VmCopier copier = source.copier(false)) {
      source.execute(new VmCommand.Pause());
      copier.freeze();
      VmCopier.PendingVm pending = copier.copy();
      copier.thaw();
      PageRuns then = source.memory().diverged();
      ownOverlay(source, "dnext");
      source.execute(new VmCommand.Resume());
      assertThat(source.paused()).isFalse();
      Thread.sleep(100);
      RunningVm copy = finish(pending, "c2");
      assertThat(copy.paused()).isTrue();
      assertThat(copy.disk().active().id()).isEqualTo("dc1");
      assertThat(copy.memory().diverged()).isEqualTo(then);
      Path devices = dir.resolve("copy.bin");
      copy.execute(new VmCommand.SaveDevices(devices));
      assertThat(devices).isNotEmptyFile();
    }
    assertThat(source.paused()).isFalse();
    first.close();
    started.remove(origin);
    saved.memory().close();
  }

  /** A copy outlives the one who made it and is found again by its own name. */
  @Test
  void attachToCopy() throws Exception {
    Saved saved = saved();
    RunningVm source = restore("cp", saved, true);
    VmCopier copier = source.copier(true);
    copier.freeze();
    RunningVm copy = finish(copier.copy(), "c1");
    ownOverlay(copy, "dc1");
    copier.close();
    started.remove(source);
    VmProcess process = copy.process();
    DiskChain disk = copy.disk();
    copy.close();
    started.remove(copy);
    AttachSpec spec =
        new AttachSpec(
            name("c1"),
            HARDWARE,
            disk,
            process.pid(),
            process.startTicks(),
            saved.memory().inode());
    RunningVm again = vmm().attach(spec);
    started.add(again);
    assertThat(again.disk()).isEqualTo(disk);
    assertThat(again.paused()).isTrue();
    again.execute(new VmCommand.Resume());
    assertThat(again.paused()).isFalse();
    // And it can be copied in its turn.
    again.execute(new VmCommand.Pause());
    try (VmCopier next = again.copier(false)) {
      next.freeze();
      RunningVm copyOfCopy = finish(next.copy(), "c2");
      next.thaw();
      ownOverlay(copyOfCopy, "dc2");
      copyOfCopy.execute(new VmCommand.Resume());
      assertThat(copyOfCopy.paused()).isFalse();
      assertThat(again.paused()).isTrue();
    }
    assertThat(again.exit()).isNotDone();
    saved.memory().close();
  }

  /**
   * What goes wrong with a copy is said, leaves nothing, and harms neither source nor next copy.
   */
  @Test
  void refusedCopies() throws Exception {
    Saved saved = saved();
    RunningVm source = restore("cp", saved, true);
    try (VmCopier copier = source.copier(true)) {
      assertThatThrownBy(copier::copy).isInstanceOf(ForkdException.class);
      copier.freeze();
      VmCopier.PendingVm given = copier.copy();
      int pid = given.process().pid();
      given.close();
      assertThat(new ProcessIdentity(pid, given.process().startTicks()).isAlive()).isFalse();
      RunningVm copy = finish(copier.copy(), "c1");
      assertThat(copy.paused()).isTrue();
    }
    started.remove(source);
    saved.memory().close();
  }

  /** A VM that is killed under its copier's hands is gone, and so is whoever held it. */
  @Test
  void killedWhileFrozen() throws Exception {
    Saved saved = saved();
    RunningVm source = restore("cp", saved, true);
    VmCopier copier = source.copier(true);
    copier.freeze();
    RunningVm copy = finish(copier.copy(), "c1");
    source.kill();
    assertThat(source.exit().get(60, TimeUnit.SECONDS).reason()).isNotEmpty();
    assertThatThrownBy(copier::copy).isInstanceOf(ForkdException.class);
    copier.close();
    assertThat(copy.paused()).isTrue();
    String held = Long.toString(source.process().pid());
    Awaitility.await()
        .atMost(Duration.ofSeconds(60))
        .until(() ->
            ProcessIdentity.matching(arguments ->
                    arguments.getFirst().endsWith("vmfork") && arguments.contains(held))
                .isEmpty());
    started.remove(source);
    saved.memory().close();
  }
}
