package dev.forkd.template;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;

/** What every root file system gets so that the agent can live in it. */
final class GuestTree {
  /** What the agent mounts on; an image may lack any of them. */
  private static final List<String> MOUNT_POINTS = List.of("dev", "proc", "run", "sys");

  private GuestTree() {}

  /** Writes them as an archive that is unpacked over the image's content. */
  static void writeExtras(Path archive) throws IOException {
    try (TarArchiveOutputStream out =
        new TarArchiveOutputStream(new BufferedOutputStream(Files.newOutputStream(archive)))) {
      for (String name : MOUNT_POINTS) {
        folder(out, name, 0755);
      }
      folder(out, "root", 0700);
      folder(out, "tmp", 01777);
      folder(out, "etc", 0755);
      // Only a place to bind to: each sandbox has its own, set when it is forked.
      file(out, "etc/machine-id", "");
      file(out, "etc/hostname", "forkd\n");
      file(out, "etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    }
  }

  private static void folder(TarArchiveOutputStream out, String name, int mode) throws IOException {
    TarArchiveEntry entry = new TarArchiveEntry(name + "/");
    entry.setMode(mode);
    entry.setModTime(0);
    out.putArchiveEntry(entry);
    out.closeArchiveEntry();
  }

  private static void file(TarArchiveOutputStream out, String name, String content)
      throws IOException {
    byte[] bytes = content.getBytes(StandardCharsets.UTF_8);
    TarArchiveEntry entry = new TarArchiveEntry(name);
    entry.setMode(0644);
    entry.setModTime(0);
    entry.setSize(bytes.length);
    out.putArchiveEntry(entry);
    out.write(bytes);
    out.closeArchiveEntry();
  }
}
