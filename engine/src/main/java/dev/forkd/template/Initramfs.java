package dev.forkd.template;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.commons.compress.archivers.cpio.CpioArchiveEntry;
import org.apache.commons.compress.archivers.cpio.CpioArchiveOutputStream;
import org.apache.commons.compress.archivers.cpio.CpioConstants;

/**
 * The archive a guest starts from: the agent as {@code /init}, what evaluates code, and the kernel
 * modules with the order to load them in. It is not compressed: at about 2 MiB, unpacking it under
 * emulation costs more than reading it.
 */
final class Initramfs {
  private static final List<String> FOLDERS =
      List.of("dev", "modules", "proc", "root", "run", "sys", "tmp");

  private final Path folder;

  /**
   * @param folder where archives are kept, named by their content
   */
  Initramfs(Path folder) {
    this.folder = folder;
  }

  /** The archive for these parts; the same parts always give the same bytes and the same file. */
  Path build(AgentBinary.Built agent, List<KernelModule> modules) {
    return AssetFiles.orFail(
        "write the initramfs into '" + folder + "'",
        () -> {
          byte[] archive =
              assemble(
                  Files.readAllBytes(agent.binary()),
                  Files.readAllBytes(agent.evaluator()),
                  modules);
          Path file =
              folder.resolve("initramfs-" + AssetFiles.sha256(archive).substring(0, 16) + ".cpio");
          if (!Files.exists(file)) {
            AssetFiles.replace(file, archive);
          }
          return file;
        });
  }

  static byte[] assemble(byte[] agent, byte[] evaluator, List<KernelModule> modules)
      throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (CpioArchiveOutputStream out =
        new CpioArchiveOutputStream(bytes, CpioConstants.FORMAT_NEW)) {
      Writer writer = new Writer(out);
      for (String name : FOLDERS) {
        writer.put(name, CpioConstants.C_ISDIR | 0755, new byte[0]);
      }
      writer.console();
      writer.put("init", CpioConstants.C_ISREG | 0755, agent);
      writer.put("evaluator.py", CpioConstants.C_ISREG | 0644, evaluator);
      for (KernelModule module : modules) {
        writer.put("modules/" + module.fileName(), CpioConstants.C_ISREG | 0644, module.content());
      }
      String order =
          modules.stream().map(module -> module.fileName() + "\n").collect(Collectors.joining());
      writer.put(
          "modules/order", CpioConstants.C_ISREG | 0644, order.getBytes(StandardCharsets.UTF_8));
    }
    return bytes.toByteArray();
  }

  /** Writes entries that are all root's, all of one time, with inode numbers counted up. */
  private static final class Writer {
    private final CpioArchiveOutputStream out;
    private long inode;

    Writer(CpioArchiveOutputStream out) {
      this.out = out;
    }

    void put(String name, long mode, byte[] content) throws IOException {
      CpioArchiveEntry entry = entry(name, mode);
      entry.setSize(content.length);
      out.putArchiveEntry(entry);
      out.write(content);
      out.closeArchiveEntry();
    }

    /** The kernel opens it before /init mounts anything: without it, /init has no output. */
    void console() throws IOException {
      CpioArchiveEntry entry = entry("dev/console", CpioConstants.C_ISCHR | 0600);
      entry.setRemoteDeviceMaj(5);
      entry.setRemoteDeviceMin(1);
      out.putArchiveEntry(entry);
      out.closeArchiveEntry();
    }

    private CpioArchiveEntry entry(String name, long mode) {
      CpioArchiveEntry entry = new CpioArchiveEntry(CpioConstants.FORMAT_NEW, name);
      entry.setMode(mode);
      entry.setInode(++inode);
      entry.setNumberOfLinks((mode & CpioConstants.C_ISDIR) != 0 ? 2 : 1);
      return entry;
    }
  }
}
