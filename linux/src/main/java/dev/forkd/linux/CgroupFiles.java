package dev.forkd.linux;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** The control files of a group: small texts, never created by us. */
final class CgroupFiles {
  private CgroupFiles() {}

  static String read(Path file) throws IOException {
    return Files.readString(file).strip();
  }

  /** One write call, as the kernel wants it; the file must exist. */
  static void write(Path file, String value) throws IOException {
    try {
      Files.write(file, value.getBytes(StandardCharsets.UTF_8), StandardOpenOption.WRITE);
    } catch (IOException e) {
      throw new IOException("writing '" + value + "' to " + file + " failed: " + e, e);
    }
  }
}
