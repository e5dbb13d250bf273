package dev.forkd.api;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Which packages forkd needs on this host, which of them are missing, and how to get them. What
 * counts is that the files are there, wherever they came from.
 */
public final class HostPackages {
  private static final String QEMU = "qemu-system-x86_64";

  /** What everybody needs. */
  public static final List<HostPackage> COMMON =
      List.of(
          need("qemu-system-x86", "runs the microVMs", QEMU),
          need("qemu-utils", "makes disk layers", "qemu-img"),
          need("mmdebstrap", "makes root images from packages", "mmdebstrap"),
          need("e2fsprogs", "makes file systems", "mke2fs"),
          need("gcc", "compiles the guest agent", "gcc"),
          need(
              "libc6-dev",
              "compiles the guest agent",
              "/usr/lib/x86_64-linux-gnu/libc.a",
              "/usr/lib/libc.a",
              "/usr/lib64/libc.a"),
          need("libjansson-dev", "compiles the guest agent", "/usr/include/jansson.h"),
          need("xz-utils", "unpacks kernel modules", "xz"),
          need("zstd", "unpacks kernel modules and image layers", "zstd"));

  /** What only those who are not root need, to make files that belong to others. */
  public static final List<HostPackage> WITHOUT_ROOT =
      List.of(
          need("uidmap", "makes root images without root", "newuidmap"),
          need("fakeroot", "makes root images without root", "fakeroot"));

  private static final List<String> SYSTEM_FOLDERS =
      List.of("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin");

  private static final Duration INSTALL_TIMEOUT = Duration.ofMinutes(30);
  private static final int QUOTED_LINES = 12;

  private final boolean root;
  private final Predicate<String> present;

  /**
   * @param root whether we run as root
   * @param present whether a file is there; a name without slash is a program to look for
   */
  HostPackages(boolean root, Predicate<String> present) {
    this.root = root;
    this.present = present;
  }

  /**
   * This host's.
   *
   * @param environment programs are looked for in its PATH; its FORKD_QEMU stands in for the host's
   *     QEMU
   */
  public static HostPackages ofThisHost(Map<String, String> environment) {
    return new HostPackages(runsAsRoot(), file -> isPresent(file, environment, SYSTEM_FOLDERS));
  }

  public List<HostPackage> needed() {
    return root ? COMMON : Stream.concat(COMMON.stream(), WITHOUT_ROOT.stream()).toList();
  }

  public List<HostPackage> missing() {
    return needed().stream().filter(need -> need.files().stream().noneMatch(present)).toList();
  }

  /** What to run, in order, to get {@code packages}; with sudo if we are not root. */
  public List<List<String>> installCommands(List<HostPackage> packages) {
    List<String> prefix = root ? List.of() : List.of("sudo");
    List<String> install = new ArrayList<>(prefix);
    install.addAll(
        List.of(
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "install",
            "--yes",
            "--no-install-recommends"));
    packages.forEach(need -> install.add(need.name()));
    List<String> update = new ArrayList<>(prefix);
    update.addAll(List.of("apt-get", "update"));
    return List.of(List.copyOf(update), List.copyOf(install));
  }

  /** The same as one line to show or to type. */
  public String installCommandLine(List<HostPackage> packages) {
    return installCommands(packages).stream()
        .map(command -> String.join(" ", command))
        .collect(Collectors.joining(" && "));
  }

  /**
   * Installs {@code packages}; nothing happens if there are none.
   *
   * @param confirm is asked with the command line before anything is changed
   * @param progress receives apt's output, line by line
   * @throws ForkdException FAILED_PRECONDITION if this host has no apt, or no sudo where it is
   *     needed, or apt failed, or afterwards something is still missing; CANCELLED if the answer
   *     was no
   */
  public void install(
      List<HostPackage> packages, Predicate<String> confirm, Consumer<String> progress) {
    if (packages.isEmpty()) {
      return;
    }
    String line = installCommandLine(packages);
    for (String tool : root ? List.of("apt-get") : List.of("apt-get", "sudo")) {
      if (!present.test(tool)) {
        throw new ForkdException(
            ErrorCode.FAILED_PRECONDITION,
            "forkd needs "
                + names(packages)
                + ", and this host has no "
                + tool
                + " to install them with; install them as root, on Debian by: "
                + line.replace("sudo ", ""));
      }
    }
    if (!confirm.test(line)) {
      throw new ForkdException(
          ErrorCode.CANCELLED,
          "nothing was installed; forkd needs " + names(packages) + ": " + line);
    }
    for (List<String> command : installCommands(packages)) {
      run(command, progress);
    }
    List<HostPackage> still = missing();
    if (!still.isEmpty()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "apt succeeded, but what " + names(still) + " should bring is still not there");
    }
  }

  /** Whether this process runs as root. */
  public static boolean runsAsRoot() {
    try {
      return (Integer) Files.getAttribute(Path.of("/proc/self"), "unix:uid") == 0;
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "cannot see who we are in /proc/self", e);
    }
  }

  private static void run(List<String> command, Consumer<String> progress) {
    Deque<String> last = new ArrayDeque<>();
    try {
      Process process =
          new ProcessBuilder(command)
              // sudo may ask for a password.
              .redirectInput(ProcessBuilder.Redirect.INHERIT)
              .redirectErrorStream(true)
              .start();
      Thread reader =
          Thread.ofVirtual().name("output of apt").start(() -> read(process, last, progress));
      if (!process.waitFor(INSTALL_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)) {
        process.descendants().forEach(ProcessHandle::destroy);
        process.destroy();
        throw failed(command, "did not end within " + INSTALL_TIMEOUT.toMinutes() + " min", last);
      }
      reader.join(Duration.ofSeconds(5));
      if (process.exitValue() != 0) {
        throw failed(command, "failed with exit status " + process.exitValue(), last);
      }
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION, "cannot run '" + String.join(" ", command) + "'", e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(
          ErrorCode.CANCELLED, "interrupted during '" + String.join(" ", command) + "'", e);
    }
  }

  private static void read(Process process, Deque<String> last, Consumer<String> progress) {
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        synchronized (last) {
          last.add(line);
          if (last.size() > QUOTED_LINES) {
            last.remove();
          }
        }
        progress.accept(line);
      }
    } catch (IOException _) {
      // It was killed; what it said so far is kept.
    }
  }

  private static ForkdException failed(List<String> command, String how, Deque<String> last) {
    String quoted;
    synchronized (last) {
      quoted = String.join(" | ", last);
    }
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION,
        "'" + String.join(" ", command) + "' " + how + ": " + quoted + "; mend apt and try again");
  }

  private static String names(List<HostPackage> packages) {
    return packages.stream().map(HostPackage::name).collect(Collectors.joining(", "));
  }

  private static HostPackage need(String name, String purpose, String... files) {
    return new HostPackage(name, List.of(files), purpose);
  }

  static boolean isPresent(
      String file, Map<String, String> environment, List<String> systemFolders) {
    if (file.startsWith("/")) {
      return Files.exists(Path.of(file));
    }
    if (file.equals(QEMU) && !environment.getOrDefault("FORKD_QEMU", "").isBlank()) {
      return true; // Whether that one runs is found out by trying; a package would not mend it.
    }
    Stream<String> own =
        Stream.of(environment.getOrDefault("PATH", "").split(File.pathSeparator, -1));
    return Stream.concat(own.filter(folder -> folder.startsWith("/")), systemFolders.stream())
        .anyMatch(folder -> Files.isExecutable(Path.of(folder, file)));
  }
}
