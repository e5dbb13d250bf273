package dev.forkd.cli;

import static java.util.stream.Collectors.joining;

import dev.forkd.api.ForkdException;
import dev.forkd.api.HostPackage;
import dev.forkd.api.HostPackages;
import dev.forkd.linux.Cgroup;
import dev.forkd.linux.CgroupSupport;
import dev.forkd.linux.Memfd;
import dev.forkd.linux.Userfaultfd;
import dev.forkd.vmm.Isolation;
import dev.forkd.vmm.VmmCapabilities;
import dev.forkd.vmm.qemu.QemuInstallation;
import dev.forkd.vmm.qemu.QemuVmm;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** What doctor looks at on this host, each by trying it where that is possible. */
final class HostChecks {
  private static final long GIB = 1L << 30;
  private static final long ENOUGH_BYTES = 5 * GIB;
  private static final long LEAST_BYTES = GIB;
  private static final long MEMORY_ENOUGH_BYTES = 2 * GIB;
  private static final String SPACE_MEANING =
      "templates, snapshots and the children's disks live there";

  private final Path root;
  private final DataDir dataDir;
  private final Map<String, String> environment;

  /**
   * @param root the folder that holds {@code proc}, {@code dev} and {@code sbin}: {@code /} but in
   *     tests
   */
  HostChecks(Path root, DataDir dataDir, Map<String, String> environment) {
    this.root = root;
    this.dataDir = dataDir;
    this.environment = environment;
  }

  /** All of them, in the order in which mending makes sense. */
  List<Check> all() {
    List<Check> checks = new ArrayList<>();
    checks.add(platform(System.getProperty("os.name"), System.getProperty("os.arch")));
    checks.add(jdk(Runtime.version()));
    checks.add(packages(HostPackages.ofThisHost(environment)));
    checks.addAll(vmm());
    checks.add(cgroups(Cgroup.probe()));
    checks.addAll(guest());
    checks.add(tracing(System.getProperty("user.name", "").equals("root")));
    checks.add(userfaultfd(Userfaultfd.probe()));
    checks.add(softDirty());
    checks.add(reflink());
    checks.add(space());
    checks.add(sharedMemory());
    checks.add(networkTools());
    return checks;
  }

  Check platform(String system, String architecture) {
    String meaning = "forkd drives x86-64 microVMs with Linux facilities";
    String found = system + " " + architecture;
    return system.equals("Linux") && architecture.equals("amd64")
        ? Check.pass("platform", found + ", kernel " + kernelRelease(), meaning)
        : Check.fail("platform", found, meaning, "run forkd on Linux on an x86-64 machine or VM");
  }

  Check jdk(Runtime.Version version) {
    String meaning = "forkd runs and is built on a JDK 25";
    String found = version + ", " + System.getProperty("java.vendor", "unknown vendor");
    return version.feature() >= 25
        ? Check.pass("jdk", found, meaning)
        : Check.fail("jdk", found, meaning, "install Temurin 25; ./forkd without a JDK says how");
  }

  static Check packages(HostPackages packages) {
    String meaning = "run guests, and make kernels, agents and root images for them";
    List<HostPackage> missing = packages.missing();
    return missing.isEmpty()
        ? Check.pass("packages", packages.needed().size() + " are there", meaning)
        : Check.fail(
            "packages",
            "missing: " + missing.stream().map(HostPackage::name).collect(joining(", ")),
            meaning,
            packages.installCommandLine(missing) + " (forkd quickstart does it)");
  }

  /** QEMU's version, and which acceleration really runs a guest. */
  List<Check> vmm() {
    String meaning = "the stock VMM that runs every sandbox; 7.2 to 11";
    String tierMeaning = "kvm isolates by hardware; emulation works everywhere, CPU 13 × slower";
    QemuInstallation installation = QemuInstallation.of(environment);
    Path memory = null;
    try {
      memory = Files.createTempFile("forkd-doctor", ".probe");
      Files.delete(memory);
      VmmCapabilities found;
      try (QemuVmm qemu = new QemuVmm(installation, memory, java.util.Optional.empty())) {
        found = qemu.capabilities();
      }
      Check version =
          Check.pass(
              "qemu", found.name() + " " + found.version() + ", " + installation.binary(), meaning);
      if (found.isolation() == Isolation.KVM) {
        return List.of(
            version, Check.pass("acceleration", "kvm: a probe guest ran in time", tierMeaning));
      }
      return List.of(version, emulation(tierMeaning));
    } catch (ForkdException e) {
      return List.of(
          Check.fail("qemu", e.message(), meaning, mendQemu(installation.binary())),
          Check.skip("acceleration", "no QEMU to try it with", tierMeaning));
    } catch (IOException e) {
      return List.of(
          Check.fail(
              "qemu", "no probe: " + e, meaning, "make the folder for temporary files usable"));
    } finally {
      deleteQuietly(memory);
    }
  }

  /** To install what is there already would not help. */
  private String mendQemu(String binary) {
    if (!onPath(binary)) {
      return environment.getOrDefault(QemuInstallation.VARIABLE, "").isBlank()
          ? "apt-get install qemu-system-x86"
          : QemuInstallation.VARIABLE
              + " must name a QEMU binary, or the folder that QEMU's packages were unpacked into"
              + " (dpkg-deb -x); unset it to take the host's";
    }
    return "take QEMU 7.2 or newer: from backports (Debian: apt-get install -t"
        + " $(lsb_release -cs)-backports qemu-system-x86), or with "
        + QemuInstallation.VARIABLE
        + " naming another binary or the folder that newer packages were unpacked into"
        + " (dpkg-deb -x)";
  }

  private Check emulation(String meaning) {
    Path device = root.resolve("dev/kvm");
    if (!Files.exists(device)) {
      return Check.warn(
          "acceleration",
          "emulation: there is no /dev/kvm",
          meaning,
          "use a host with hardware virtualisation (bare metal, or a VM with nested virtualisation);"
              + " load kvm_intel or kvm_amd");
    }
    if (!Files.isWritable(device)) {
      return Check.warn(
          "acceleration",
          "emulation: /dev/kvm is not open to this user",
          meaning,
          "usermod -aG kvm " + environment.getOrDefault("USER", "$USER") + ", then log in again");
    }
    return Check.warn(
        "acceleration",
        "emulation: /dev/kvm is there, but a probe guest did not run in time",
        meaning,
        "give this VM real nested virtualisation (vmx or svm in /proc/cpuinfo)");
  }

  /** What the daemon will find out when it starts, by its own way to look. */
  static Check cgroups(CgroupSupport found) {
    String meaning = "memory_limit_mib is enforced by a memory cgroup";
    return found instanceof CgroupSupport.None none
        ? Check.warn(
            "cgroups",
            none.reason(),
            meaning,
            "start the daemon as root or in a delegated scope (systemd-run --user --scope -p"
                + " Delegate=yes ./forkd serve), on a system with cgroup v2 or v1's memory"
                + " controller; until then a fork with memory_limit_mib is refused")
        : Check.pass("cgroups", found.describe(), meaning);
  }

  List<Check> guest() {
    String kernelMeaning = "what every template boots";
    Path kernels = dataDir.guest().resolve("kernels");
    List<String> kernel = names(kernels).toList();
    String imageMeaning = "what children are forked from";
    long snapshots = names(dataDir.snapshots()).count();
    return List.of(
        kernel.isEmpty()
            ? Check.warn(
                "kernel",
                "none yet in " + kernels,
                kernelMeaning,
                "forkd quickstart, or the first forkd template build, fetches it")
            : Check.pass("kernel", String.join(", ", kernel), kernelMeaning),
        snapshots == 0
            ? Check.warn(
                "image",
                "no template or snapshot in " + dataDir.snapshots(),
                imageMeaning,
                "forkd quickstart builds the template 'python'")
            : Check.pass("image", snapshots + " in " + dataDir.snapshots(), imageMeaning));
  }

  /** See yama in the kernel's documentation: 0 lets a process trace any other of its user. */
  Check tracing(boolean privileged) {
    String meaning =
        "copies VMM processes: without it children are restored, which takes ten times as long,"
            + " and a live branch is taken as diff";
    String scope = text(root.resolve("proc/sys/kernel/yama/ptrace_scope")).strip();
    return scope.isEmpty() || scope.equals("0") || (privileged && !scope.equals("3"))
        ? Check.pass("tracing", "processes of one user may trace each other", meaning)
        : Check.warn(
            "tracing",
            "kernel.yama.ptrace_scope is " + scope,
            meaning,
            "sysctl kernel.yama.ptrace_scope=0, or run the daemon as root");
  }

  static Check userfaultfd(Userfaultfd.Support support) {
    String meaning =
        "would write-protect memory for live branches under KVM; emulated ones copy the process";
    String mend = "sysctl vm.unprivileged_userfaultfd=1, or run the daemon as root";
    return switch (support) {
      case FULL -> Check.pass("userfaultfd", "with write protection", meaning);
      case USER_MODE_ONLY ->
          Check.warn("userfaultfd", "only for faults in user mode", meaning, mend);
      case NO_WRITE_PROTECTION ->
          Check.warn("userfaultfd", "no write protection", meaning, "use Linux 5.7 or newer");
      case NONE -> Check.warn("userfaultfd", "missing or forbidden", meaning, mend);
    };
  }

  Check softDirty() {
    String meaning = "finds pages written since a moment; without it pages are compared instead";
    boolean present =
        text(root.resolve("proc/self/smaps"))
            .lines()
            .anyMatch(line -> line.startsWith("VmFlags:") && (line + " ").contains(" sd "));
    return present
        ? Check.pass("soft-dirty", "the kernel marks written pages", meaning)
        : Check.warn(
            "soft-dirty",
            "the kernel does not mark written pages",
            meaning,
            "nothing needs it yet; a kernel with CONFIG_MEM_SOFT_DIRTY has it");
  }

  Check reflink() {
    String meaning = "copies files in no time and no space; without it only data pages are copied";
    Path folder = dataDir.existing();
    Path from = null;
    Path to = null;
    try {
      from = Files.createTempFile(folder, ".doctor", ".from");
      to = Files.createTempFile(folder, ".doctor", ".to");
      Files.write(from, new byte[8192]);
      Process copy =
          new ProcessBuilder("cp", "--reflink=always", from.toString(), to.toString())
              .redirectErrorStream(true)
              .redirectOutput(ProcessBuilder.Redirect.DISCARD)
              .start();
      return copy.waitFor() == 0
          ? Check.pass("reflink", "works in " + folder, meaning)
          : Check.warn(
              "reflink",
              "not on the " + Files.getFileStore(folder).type() + " of " + folder,
              meaning,
              "put the data dir on btrfs, or on xfs made with reflink=1");
    } catch (IOException e) {
      return Check.fail(
          "reflink", "cannot write " + folder + ": " + e, meaning, "set FORKD_DATA_DIR elsewhere");
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return Check.skip("reflink", "interrupted", meaning);
    } finally {
      deleteQuietly(from);
      deleteQuietly(to);
    }
  }

  Check space() {
    Path folder = dataDir.existing();
    try {
      return space(Files.getFileStore(folder).getUsableSpace(), folder);
    } catch (IOException e) {
      return Check.fail("space", e.toString(), SPACE_MEANING, "set FORKD_DATA_DIR elsewhere");
    }
  }

  static Check space(long freeBytes, Path folder) {
    String found = Format.bytes(freeBytes) + " free in " + folder;
    String mend = "free some (forkd images; forkd rmi TAG) or set FORKD_DATA_DIR elsewhere";
    if (freeBytes >= ENOUGH_BYTES) {
      return Check.pass("space", found, SPACE_MEANING);
    }
    return freeBytes >= LEAST_BYTES
        ? Check.warn("space", found, SPACE_MEANING, mend)
        : Check.fail("space", found, SPACE_MEANING, mend);
  }

  /** Guest memory is shared from memory files (tmpfs inside the kernel), so these must work. */
  Check sharedMemory() {
    String meaning = "children share a template's memory from a sealed memory file (tmpfs)";
    long available = availableBytes();
    String found = Format.bytes(available) + " of memory available";
    try (Memfd probe = Memfd.create("forkd-doctor", 4096)) {
      probe.seal();
    } catch (IOException e) {
      return Check.fail("tmpfs", "no sealed memory file: " + e, meaning, "use Linux 5.10 or newer");
    }
    return available >= MEMORY_ENOUGH_BYTES
        ? Check.pass("tmpfs", "memory files can be sealed; " + found, meaning)
        : Check.warn(
            "tmpfs", found, meaning, "a template takes its memory size once, a child 50 MiB");
  }

  Check networkTools() {
    String meaning = "per-child network namespaces need them; all else works without";
    List<String> missing = Stream.of("ip", "nft").filter(tool -> !onPath(tool)).toList();
    return missing.isEmpty()
        ? Check.pass("network tools", "ip and nft are there", meaning)
        : Check.warn(
            "network tools",
            "missing: " + String.join(", ", missing),
            meaning,
            "apt-get install iproute2 nftables");
  }

  /** A name is looked for where users and system administrators have programs; a path is one. */
  private boolean onPath(String tool) {
    if (tool.contains("/")) {
      return Files.isExecutable(Path.of(tool));
    }
    return Stream.concat(
            Stream.of(environment.getOrDefault("PATH", "").split(":"))
                .filter(folder -> !folder.isEmpty())
                .map(Path::of),
            Stream.of("usr/sbin", "sbin").map(root::resolve))
        .anyMatch(folder -> Files.isExecutable(folder.resolve(tool)));
  }

  private long availableBytes() {
    return text(root.resolve("proc/meminfo"))
        .lines()
        .filter(line -> line.startsWith("MemAvailable:"))
        .map(line -> line.replaceAll("[^0-9]", ""))
        .mapToLong(kib -> Long.parseLong(kib) << 10)
        .findFirst()
        .orElse(0);
  }

  private String kernelRelease() {
    return text(root.resolve("proc/sys/kernel/osrelease")).strip();
  }

  /** Names in a folder that are not hidden; none if there is no such folder. */
  private static Stream<String> names(Path folder) {
    String[] names = folder.toFile().list();
    return names == null ? Stream.of() : Stream.of(names).filter(n -> !n.startsWith(".")).sorted();
  }

  /** What a small file says; nothing when it cannot be read. */
  private static String text(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      return "";
    }
  }

  private static void deleteQuietly(@org.jspecify.annotations.Nullable Path file) {
    if (file != null && !file.toFile().delete() && Files.exists(file)) {
      file.toFile().deleteOnExit();
    }
  }
}
