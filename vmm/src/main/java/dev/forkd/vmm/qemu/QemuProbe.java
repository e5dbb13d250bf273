package dev.forkd.vmm.qemu;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.vmm.Isolation;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Finds out by trying what QEMU can do here. That {@code /dev/kvm} opens means little: a nested
 * host may create a VM and then run it a thousand times too slowly, so a guest has to run.
 */
final class QemuProbe {
  /** Loops of the probe guest; tens of milliseconds on hardware, minutes where KVM is a fiction. */
  private static final int PROBE_LOOPS = 100_000_001;

  private static final Duration PROBE_TIMEOUT = Duration.ofSeconds(2);

  private static final Duration VERSION_TIMEOUT = Duration.ofSeconds(20);

  private static final int FIRMWARE_BYTES = 64 << 10;

  /** Where the processor starts, 16 bytes below the end of the firmware. */
  private static final int RESET_VECTOR = FIRMWARE_BYTES - 16;

  private static final int CODE = 0x100;

  /** I/O port of QEMU's isa-debug-exit device; writing v ends QEMU with status 2v+1. */
  private static final int EXIT_PORT = 0x501;

  private static final int EXIT_VALUE = 16;

  /** Not the 1 with which QEMU says that it could not start. */
  private static final int EXIT_STATUS = 2 * EXIT_VALUE + 1;

  private static final Pattern VERSION = Pattern.compile("version (\\d+)\\.(\\d+)(\\.\\d+)?");

  private QemuProbe() {}

  /** The version, after checking that it is one we support. */
  static String version(QemuInstallation qemu) {
    List<String> command = new ArrayList<>(List.of(qemu.binary(), "--version"));
    String output;
    try {
      ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
      builder.environment().putAll(qemu.environment());
      Process process = builder.start();
      process.getOutputStream().close();
      output = new String(process.getInputStream().readNBytes(4096), StandardCharsets.UTF_8);
      if (!process.waitFor(VERSION_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)) {
        process.destroyForcibly();
      }
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "QEMU not found as '"
              + qemu.binary()
              + "': install it (Debian: apt-get install qemu-system-x86) or set "
              + QemuInstallation.VARIABLE
              + " to another, then run forkd doctor",
          e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while asking QEMU's version", e);
    }
    return supported(qemu.binary(), output);
  }

  static String supported(String binary, String output) {
    Matcher matcher = VERSION.matcher(output);
    if (!matcher.find()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "'" + binary + " --version' does not answer like QEMU: " + output.strip());
    }
    int major = Integer.parseInt(matcher.group(1));
    int minor = Integer.parseInt(matcher.group(2));
    if (major < 7 || (major == 7 && minor < 2)) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "QEMU "
              + major
              + "."
              + minor
              + " ('"
              + binary
              + "') is too old: 7.2 or newer is needed; take one from your distribution's backports"
              + " or a newer release of it, or set "
              + QemuInstallation.VARIABLE
              + " to another binary or to the folder that newer packages were unpacked into");
    }
    return major + "." + minor + (matcher.group(3) == null ? "" : matcher.group(3));
  }

  /**
   * The tier that works.
   *
   * @param memory a file that keeps the answer until the next boot of this host
   */
  static Isolation isolation(QemuInstallation qemu, Path memory) {
    if (!Files.isReadable(Path.of("/dev/kvm")) || !Files.isWritable(Path.of("/dev/kvm"))) {
      return Isolation.EMULATION;
    }
    String key = bootId() + " " + qemu.binary();
    try {
      List<String> known = Files.exists(memory) ? Files.readAllLines(memory) : List.of();
      if (known.size() == 2 && known.getFirst().equals(key)) {
        return Isolation.valueOf(known.getLast());
      }
      Isolation found =
          runs(qemu, List.of("-accel", "kvm", "-cpu", "host"), PROBE_TIMEOUT)
              ? Isolation.KVM
              : Isolation.EMULATION;
      Files.write(memory, List.of(key, found.name()));
      return found;
    } catch (IOException | IllegalArgumentException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "probe of KVM, answer kept in " + memory, e);
    }
  }

  /** Whether a tiny guest gets through its loop in time. */
  static boolean runs(QemuInstallation qemu, List<String> accelerator, Duration timeout) {
    Path firmware = null;
    try {
      firmware = Files.createTempFile("forkd-probe", ".bin");
      Files.write(firmware, firmware());
      List<String> command = new ArrayList<>();
      command.add(qemu.binary());
      command.addAll(qemu.arguments());
      command.addAll(List.of("-machine", "microvm,isa-serial=on", "-m", "16"));
      command.addAll(accelerator);
      command.addAll(List.of("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"));
      command.addAll(List.of("-bios", firmware.toString()));
      command.addAll(List.of("-device", "isa-debug-exit,iobase=" + EXIT_PORT + ",iosize=2"));
      ProcessBuilder builder =
          new ProcessBuilder(command)
              .redirectOutput(ProcessBuilder.Redirect.DISCARD)
              .redirectError(ProcessBuilder.Redirect.DISCARD);
      builder.environment().putAll(qemu.environment());
      Process process = builder.start();
      try {
        return process.waitFor(timeout.toMillis(), TimeUnit.MILLISECONDS)
            && process.exitValue() == EXIT_STATUS;
      } finally {
        process.destroyForcibly().waitFor(5, TimeUnit.SECONDS);
      }
    } catch (IOException e) {
      return false;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted in the probe of KVM", e);
    } finally {
      delete(firmware);
    }
  }

  private static void delete(@org.jspecify.annotations.Nullable Path file) {
    try {
      if (file != null) {
        Files.deleteIfExists(file);
      }
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  /** Real-mode code that counts down and then ends QEMU. */
  private static byte[] firmware() {
    byte[] image = new byte[FIRMWARE_BYTES];
    int jump = (CODE - (RESET_VECTOR + 3)) & 0xFFFF;
    put(image, RESET_VECTOR, 0xE9, jump & 0xFF, jump >> 8);
    put(
        image,
        CODE,
        0x66,
        0xB9, // mov ecx, PROBE_LOOPS
        PROBE_LOOPS & 0xFF,
        PROBE_LOOPS >> 8 & 0xFF,
        PROBE_LOOPS >> 16 & 0xFF,
        PROBE_LOOPS >> 24 & 0xFF,
        0x66,
        0x49, // dec ecx
        0x75,
        0xFC, // jnz back to dec
        0xBA,
        EXIT_PORT & 0xFF,
        EXIT_PORT >> 8, // mov dx, EXIT_PORT
        0xB0,
        EXIT_VALUE, // mov al, EXIT_VALUE
        0xEE, // out dx, al
        0xF4); // hlt
    return image;
  }

  private static void put(byte[] image, int at, int... bytes) {
    for (int i = 0; i < bytes.length; i++) {
      image[at + i] = (byte) bytes[i];
    }
  }

  private static String bootId() {
    try {
      return Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
    } catch (IOException e) {
      return "unknown";
    }
  }
}
