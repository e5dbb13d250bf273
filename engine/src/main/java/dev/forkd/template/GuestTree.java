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
  /** Folders that must be there; one that is stays as it is. */
  static final List<Folder> FOLDERS =
      List.of(
          new Folder("dev", 0755),
          new Folder("etc", 0755),
          new Folder("proc", 0755),
          new Folder("root", 0700),
          new Folder("run", 0755),
          new Folder("sys", 0755),
          new Folder("tmp", 01777));

  /** Files that are replaced. */
  static final List<TextFile> FILES =
      List.of(
          // Only a place to bind to: each sandbox has its own, set when it is forked.
          new TextFile("etc/machine-id", ""),
          new TextFile("etc/hostname", "forkd\n"),
          new TextFile("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"));

  private GuestTree() {}

  record Folder(String path, int mode) {}

  record TextFile(String path, String text) {
    byte[] content() {
      return text.getBytes(StandardCharsets.UTF_8);
    }
  }

  /** Writes it all as an archive to unpack over a tree of known shape. */
  static void writeArchive(Path archive) throws IOException {
    try (TarArchiveOutputStream out =
        new TarArchiveOutputStream(new BufferedOutputStream(Files.newOutputStream(archive)))) {
      for (Folder folder : FOLDERS) {
        TarArchiveEntry entry = new TarArchiveEntry(folder.path() + "/");
        entry.setMode(folder.mode());
        entry.setModTime(0);
        out.putArchiveEntry(entry);
        out.closeArchiveEntry();
      }
      for (TextFile file : FILES) {
        TarArchiveEntry entry = new TarArchiveEntry(file.path());
        entry.setMode(0644);
        entry.setModTime(0);
        entry.setSize(file.content().length);
        out.putArchiveEntry(entry);
        out.write(file.content());
        out.closeArchiveEntry();
      }
    }
  }
}
