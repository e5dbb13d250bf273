package dev.forkd.vmm.qemu;

import dev.forkd.vmm.BootSpec;
import dev.forkd.vmm.DiskChain;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.Isolation;
import dev.forkd.vmm.RestoreSpec;
import dev.forkd.vmm.VmHardware;
import dev.forkd.vmm.VmName;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.databind.json.JsonMapper;

/**
 * The command lines QEMU is started with. Parent and child must have the same machine and devices;
 * what is left out was measured to cost time or memory:
 *
 * <ul>
 *   <li>{@code acpi=on}: Debian's cloud kernel finds virtio-mmio devices through ACPI only;
 *   <li>no PIT, PIC or second IO-APIC: each is state to save and a source of guest wake-ups; with
 *       {@code tsc_early_khz} on the command line the guest needs none of them;
 *   <li>{@code suppress-vmdesc} and {@code send-configuration=off}: {@code xen-save-devices-state}
 *       writes neither, so the incoming side must not expect them;
 *   <li>a restored child gets no kernel: the guest is past needing it;
 *   <li>memory comes as standard input: QEMU 7.2 opens memory files for writing, and a write-sealed
 *       memfd is the one thing it can then not damage.
 * </ul>
 */
final class QemuArguments {
  private static final JsonMapper JSON = JsonMapper.shared();

  /**
   * Bytes of translated code kept per VM; the default of 1 GiB is only address space, but so is
   * this.
   */
  private static final int TRANSLATION_CACHE_MIB = 64;

  /** Longest node name QEMU accepts is 31 characters. */
  private static final int MAX_NODE_NAME = 31;

  private QemuArguments() {}

  static List<String> boot(String binary, List<String> extra, Isolation isolation, BootSpec spec) {
    List<String> arguments =
        common(binary, extra, isolation, spec.name(), spec.hardware(), spec.disk(), true, "deny");
    // The console is the process's standard output, which the driver reads into a bounded ring: it
    // must be readable after a guest that panicked has taken the process with it.
    arguments.addAll(List.of("-chardev", "file,id=console,path=/dev/stdout"));
    arguments.addAll(
        List.of(
            "-kernel", spec.kernel().toString(),
            "-initrd", spec.initramfs().toString(),
            "-append", spec.commandLine()));
    return arguments;
  }

  static List<String> restore(
      String binary, List<String> extra, Isolation isolation, RestoreSpec spec) {
    List<String> arguments =
        common(
            binary,
            extra,
            isolation,
            spec.name(),
            spec.hardware(),
            spec.disk(),
            false,
            spec.copyable() ? "allow" : "deny");
    arguments.addAll(List.of("-chardev", "ringbuf,id=console,size=65536"));
    arguments.addAll(List.of("-S", "-incoming", "defer"));
    return arguments;
  }

  private static List<String> common(
      String binary,
      List<String> extra,
      Isolation isolation,
      VmName name,
      VmHardware hardware,
      DiskChain disk,
      boolean shared,
      String spawn) {
    List<String> arguments = new ArrayList<>();
    // A session of its own: an interrupt typed at the daemon's terminal must not reach the guests.
    arguments.add("setsid");
    arguments.add(binary);
    arguments.addAll(extra);
    arguments.addAll(List.of("-name", name.processName()));
    arguments.addAll(
        List.of(
            "-machine",
            "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,ioapic2=off,"
                + "memory-backend=ram,suppress-vmdesc=on,mem-merge=off"));
    switch (isolation) {
      case EMULATION ->
          arguments.addAll(
              List.of(
                  "-accel",
                  "tcg,tb-size=" + TRANSLATION_CACHE_MIB,
                  "-cpu",
                  "Nehalem,spec-ctrl=off,+arat"));
      case KVM -> arguments.addAll(List.of("-accel", "kvm", "-cpu", "host,migratable=on"));
    }
    arguments.addAll(List.of("-m", Integer.toString(hardware.memoryMib())));
    arguments.addAll(
        List.of(
            "-object",
            "memory-backend-file,id=ram,size="
                + hardware.memoryMib()
                + "M,mem-path=/proc/self/fd/0,share="
                + (shared ? "on" : "off")));
    arguments.addAll(List.of("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"));
    arguments.addAll(List.of("-global", "migration.send-configuration=off"));
    arguments.addAll(
        List.of(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=" + spawn + ",resourcecontrol=deny"));
    arguments.addAll(List.of("-serial", "chardev:console"));
    addDisk(arguments, disk);
    arguments.addAll(
        List.of("-chardev", "socket,id=agent,server=on,wait=off,path=" + name.agentSocket()));
    arguments.addAll(
        List.of(
            "-device", "virtio-serial-device",
            "-device", "virtserialport,chardev=agent,name=agent"));
    arguments.addAll(
        List.of("-chardev", "socket,id=qmp,server=on,wait=off,path=" + name.controlSocket()));
    arguments.addAll(List.of("-mon", "chardev=qmp,mode=control"));
    return arguments;
  }

  /** Names the machine that {@link #common} builds, apart from what differs from VM to VM. */
  static String machineHash(Isolation isolation) {
    DiskLayer layer = new DiskLayer("x", Path.of("x"), DiskLayer.Format.QCOW2);
    List<String> arguments =
        common(
            "",
            List.of(),
            isolation,
            new VmName("x", Path.of("x")),
            new VmHardware(VmHardware.MIN_MEMORY_MIB),
            new DiskChain(List.of(), layer),
            false,
            "deny");
    // How a layer is opened is none of the guest's business.
    int blockdev = arguments.indexOf("-blockdev");
    arguments.subList(blockdev, blockdev + 2).clear();
    try {
      byte[] digest =
          MessageDigest.getInstance("SHA-256")
              .digest(String.join("\n", arguments).getBytes(StandardCharsets.UTF_8));
      return HexFormat.of().formatHex(digest, 0, 8);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }

  private static void addDisk(List<String> arguments, DiskChain disk) {
    String below = "";
    for (DiskLayer layer : disk.base()) {
      arguments.addAll(List.of("-blockdev", JSON.writeValueAsString(node(layer, below, true))));
      below = nodeName(layer);
    }
    arguments.addAll(
        List.of("-blockdev", JSON.writeValueAsString(node(disk.active(), below, false))));
    // A guest that cannot write must hear of it: QEMU's default is to stop the whole VM when the
    // host's disk is full, which from outside looks like our own pause.
    arguments.addAll(
        List.of(
            "-device",
            "virtio-blk-device,drive=" + nodeName(disk.active()) + ",werror=report,rerror=report"));
  }

  /**
   * The description of one layer for {@code -blockdev} and {@code blockdev-add}.
   *
   * @param below node name of the layer it stands on; empty for a root, or to be given one later
   */
  static Map<String, Object> node(DiskLayer layer, String below, boolean readOnly) {
    // What is QEMU's default is not said: each byte of blockdev-add costs time.
    Map<String, Object> file = new LinkedHashMap<>();
    file.put("driver", "file");
    file.put("filename", layer.path().toString());
    // One layer is open in many processes, all of them readers: locks would only get in the way.
    file.put("locking", "off");
    Map<String, Object> node = new LinkedHashMap<>();
    node.put("driver", layer.format().wireName());
    node.put("node-name", nodeName(layer));
    if (readOnly) {
      file.put("read-only", true);
      node.put("read-only", true);
    }
    // The engine makes layers durable outside the pause; inside it a flush costs 30 to 180 ms.
    node.put("cache", Map.of("no-flush", true));
    node.put("file", file);
    if (!below.isEmpty()) {
      node.put("backing", below); // our overlays' files name none
    }
    return node;
  }

  static String nodeName(DiskLayer layer) {
    String name = "n" + layer.id();
    if (name.length() > MAX_NODE_NAME) {
      throw new IllegalArgumentException("disk layer id too long for a node name: " + layer.id());
    }
    return name;
  }
}
