package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/**
 * The modules of one kernel. A kernel package holds no {@code modules.dep} (that is written when it
 * is installed), so what a module needs is read where depmod reads it: in the module.
 */
final class KernelModules {
  /** What a guest cannot do without: its bus, its channel, its disk and its file system. */
  static final List<String> REQUIRED =
      List.of("virtio_mmio", "virtio_console", "virtio_blk", "ext4");

  private static final int SHT_ENTRY_BYTES = 64;

  /** Module name (with underscores) to file. */
  private final Map<String, Path> files = new HashMap<>();

  private final Set<String> builtIn = new LinkedHashSet<>();

  private KernelModules() {}

  /** Reads the folder {@code …/lib/modules/RELEASE}. */
  static KernelModules in(Path folder) {
    KernelModules modules = new KernelModules();
    return AssetFiles.orFail(
        "read kernel modules in '" + folder + "'",
        () -> {
          Path builtInList = folder.resolve("modules.builtin");
          if (Files.exists(builtInList)) {
            for (String line : Files.readAllLines(builtInList)) {
              modules.builtIn.add(nameOf(Path.of(line)));
            }
          }
          try (Stream<Path> tree = Files.walk(folder.resolve("kernel"))) {
            tree.filter(path -> path.getFileName().toString().matches(".+\\.ko(\\.(xz|zst|gz))?"))
                .forEach(path -> modules.files.put(nameOf(path), path));
          }
          return modules;
        });
  }

  /** The named modules that are not built in and all they need, each after what it needs. */
  List<KernelModule> loadOrder(List<String> names) {
    Map<String, KernelModule> order = new LinkedHashMap<>();
    AssetFiles.orFail(
        "read kernel modules " + names,
        () -> {
          for (String name : names) {
            add(name, order, new ArrayList<>());
          }
          return order;
        });
    return List.copyOf(order.values());
  }

  private void add(String name, Map<String, KernelModule> order, List<String> path)
      throws IOException {
    if (order.containsKey(name) || builtIn.contains(name)) {
      return;
    }
    Path file = files.get(name);
    if (file == null) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "the kernel has no module '"
              + name
              + "'"
              + (path.isEmpty() ? "" : ", which " + path + " needs")
              + "; boot a kernel with virtio-mmio, virtio-console, virtio-blk and ext4");
    }
    if (path.contains(name)) {
      throw new IOException("modules depend on each other in a circle: " + path + " " + name);
    }
    byte[] content = read(file);
    path.add(name);
    for (String needed : dependencies(content)) {
      add(needed, order, path);
    }
    path.removeLast();
    order.put(name, new KernelModule(name + ".ko", content));
  }

  private static byte[] read(Path file) throws IOException {
    String name = file.getFileName().toString();
    if (name.endsWith(".ko")) {
      return Files.readAllBytes(file);
    }
    String tool = name.endsWith(".xz") ? "xz" : name.endsWith(".zst") ? "zstd" : "gzip";
    Path plain = Files.createTempFile("forkd-module", ".ko");
    try {
      ProcessRunner.check(Command.of(tool, "-dc", file.toString()).stdoutTo(plain));
      return Files.readAllBytes(plain);
    } finally {
      Files.delete(plain);
    }
  }

  /** The {@code depends=} entry of the module's {@code .modinfo} section. */
  static List<String> dependencies(byte[] module) throws IOException {
    for (String entry : modinfo(module).split("\0")) {
      if (entry.startsWith("depends=")) {
        String names = entry.substring("depends=".length());
        return names.isEmpty()
            ? List.of()
            : Stream.of(names.split(",")).map(name -> name.replace('-', '_')).toList();
      }
    }
    return List.of();
  }

  private static String modinfo(byte[] module) throws IOException {
    ByteBuffer elf = ByteBuffer.wrap(module).order(ByteOrder.LITTLE_ENDIAN);
    try {
      if (elf.getInt(0) != 0x464c457f || elf.get(4) != 2) {
        throw new IOException("a kernel module is not a 64-bit ELF file");
      }
      int sections = Math.toIntExact(elf.getLong(0x28));
      int count = Short.toUnsignedInt(elf.getShort(0x3c));
      int names = section(elf, sections, Short.toUnsignedInt(elf.getShort(0x3e)));
      for (int i = 0; i < count; i++) {
        int header = sections + i * SHT_ENTRY_BYTES;
        if (text(module, names + elf.getInt(header)).equals(".modinfo")) {
          int offset = section(elf, sections, i);
          int size = Math.toIntExact(elf.getLong(header + 0x20));
          return new String(module, offset, size, StandardCharsets.UTF_8);
        }
      }
      return "";
    } catch (IndexOutOfBoundsException | ArithmeticException e) {
      throw new IOException("a kernel module is cut short or damaged", e);
    }
  }

  private static int section(ByteBuffer elf, int sections, int index) {
    return Math.toIntExact(elf.getLong(sections + index * SHT_ENTRY_BYTES + 0x18));
  }

  private static String text(byte[] bytes, int offset) {
    int end = offset;
    while (bytes[end] != 0) {
      end++;
    }
    return new String(bytes, offset, end - offset, StandardCharsets.UTF_8);
  }

  private static String nameOf(Path file) {
    String name = file.getFileName().toString();
    return name.substring(0, name.indexOf(".ko")).replace('-', '_');
  }
}
