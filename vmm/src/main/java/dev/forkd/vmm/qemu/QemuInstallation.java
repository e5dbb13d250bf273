package dev.forkd.vmm.qemu;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * One QEMU on this host.
 *
 * @param binary name looked up in PATH, or a path
 * @param arguments given before all others, such as {@code -L} and the folder of its firmware
 * @param environment added to the process's environment, such as {@code LD_LIBRARY_PATH}
 */
public record QemuInstallation(
    String binary, List<String> arguments, Map<String, String> environment) {
  public QemuInstallation {
    arguments = List.copyOf(arguments);
    environment = Map.copyOf(environment);
  }

  /** The variable that names another QEMU than the one in the PATH. */
  public static final String VARIABLE = "FORKD_QEMU";

  /**
   * The one that {@code FORKD_QEMU} names, a binary or the folder that QEMU's packages were
   * unpacked into; without it the host's.
   */
  public static QemuInstallation of(Map<String, String> environment) {
    String named = environment.getOrDefault(VARIABLE, "");
    if (named.isBlank()) {
      return ofHost();
    }
    Path path = Path.of(named);
    return Files.isDirectory(path)
        ? unpacked(path)
        : new QemuInstallation(named, List.of(), Map.of());
  }

  /** Debian's: {@code qemu-system-x86_64} in the PATH. */
  public static QemuInstallation ofHost() {
    return new QemuInstallation("qemu-system-x86_64", List.of(), Map.of());
  }

  /**
   * The packages of a QEMU unpacked into a folder ({@code dpkg-deb -x}) rather than installed.
   *
   * @param root the folder that has {@code usr/bin/qemu-system-x86_64}
   */
  public static QemuInstallation unpacked(Path root) {
    Path share = root.resolve("usr/share/qemu");
    List<Path> firmware =
        List.of(share, root.resolve("usr/share/seabios"), root.resolve("usr/lib/ipxe/qemu"));
    return new QemuInstallation(
        root.resolve("usr/bin/qemu-system-x86_64").toString(),
        firmware.stream()
            .filter(Files::isDirectory)
            .flatMap(folder -> Stream.of("-L", folder.toString()))
            .toList(),
        Map.of(
            "LD_LIBRARY_PATH",
            root.resolve("usr/lib/x86_64-linux-gnu") + ":" + root.resolve("lib/x86_64-linux-gnu")));
  }

  /** Whether there is such a program now; it may be removed at any time. */
  boolean isThere() {
    return isThere(binary);
  }

  /**
   * The same of any program.
   *
   * @param program name looked up in PATH, or a path
   */
  static boolean isThere(String program) {
    if (program.contains("/")) {
      return Files.isExecutable(Path.of(program));
    }
    String path = System.getenv("PATH");
    return path != null
        && Stream.of(path.split(":", -1))
            .anyMatch(folder -> Files.isExecutable(Path.of(folder, program)));
  }

  /** What to tell whoever wants to start it when it is not there. */
  String missing(String what) {
    return "cannot "
        + what
        + ": there is no QEMU as '"
        + binary
        + "'. Install it (Debian: apt-get install qemu-system-x86), then try again";
  }
}
