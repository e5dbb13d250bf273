package dev.forkd.template;

import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;

/**
 * Extended attributes of files, such as the capabilities of a program. They are written into a
 * finished image by debugfs: setting them while files are unpacked takes root and a file system
 * that has them, and fakeroot, which could stand in for root, loses the file's type over it.
 *
 * @param byPath absolute paths in the image
 */
record Xattrs(Map<String, Map<String, byte[]>> byPath) {
  static final Xattrs NONE = new Xattrs(Map.of());

  private static final Duration TIMEOUT = Duration.ofMinutes(5);

  /** debugfs reads a command as one line of less than 8 KiB. */
  private static final int MAX_PATH_CHARS = 1500;

  private static final Pattern NAME = Pattern.compile("[A-Za-z0-9_.-]{1,200}");

  /** Those of a merged image. */
  static Xattrs of(MergedTree tree) {
    Map<String, Map<String, byte[]>> found = new TreeMap<>();
    collect(tree.root, "", new HashSet<>(), found);
    return new Xattrs(found);
  }

  private static void collect(
      TreeNode node, String path, Set<TreeNode> seen, Map<String, Map<String, byte[]>> into) {
    if (!seen.add(node)) {
      return;
    }
    if (!node.attributes.isEmpty()) {
      into.put(path.isEmpty() ? "/" : path, node.attributes);
    }
    node.children.forEach((name, child) -> collect(child, path + "/" + name, seen, into));
  }

  /** Those in an archive of one's own making. */
  static Xattrs of(Path tar) throws IOException {
    Map<String, Map<String, byte[]>> found = new TreeMap<>();
    XattrReader reader =
        new XattrReader(new BufferedInputStream(Files.newInputStream(tar), 1 << 16));
    try (TarArchiveInputStream in =
        new TarArchiveInputStream(reader, StandardCharsets.UTF_8.name())) {
      int ordinal = 0;
      for (TarArchiveEntry entry = in.getNextEntry(); entry != null; entry = in.getNextEntry()) {
        Map<String, byte[]> attributes = reader.found().get(ordinal++);
        if (attributes != null) {
          found.put(Path.of("/").resolve(entry.getName()).normalize().toString(), attributes);
        }
      }
    }
    return new Xattrs(found);
  }

  /**
   * Writes them into an image.
   *
   * @param work a folder for what debugfs reads
   */
  void write(Path image, Path work, Consumer<String> progress) throws IOException {
    if (byPath.isEmpty()) {
      return;
    }
    StringBuilder script = new StringBuilder();
    Path values = Files.createDirectories(work.resolve("attributes"));
    int count = 0;
    for (Map.Entry<String, Map<String, byte[]>> file : byPath.entrySet()) {
      for (Map.Entry<String, byte[]> attribute : file.getValue().entrySet()) {
        if (!isSafe(file.getKey()) || !NAME.matcher(attribute.getKey()).matches()) {
          progress.accept("left out: an attribute of a file with an unusual name");
          continue;
        }
        Path value = Files.write(values.resolve(String.valueOf(count++)), attribute.getValue());
        script
            .append("ea_set -f ")
            .append(quoted(value.toString()))
            .append(' ')
            .append(quoted(file.getKey()))
            .append(' ')
            .append(attribute.getKey())
            .append('\n');
      }
    }
    Path commands = Files.writeString(work.resolve("attributes.debugfs"), script);
    ProcessRunner.check(
        Command.of("debugfs", "-w", "-f", commands.toString(), image.toString())
            .timeout(TIMEOUT)
            // It goes on after a command that fails, and tells its version and commands as well.
            .lines(line -> {
              if (!line.isBlank() && !line.startsWith("debugfs")) {
                progress.accept("left out: an attribute: " + line);
              }
            }));
  }

  /** An image may call its files anything; a line break would begin a command of its own. */
  private static boolean isSafe(String path) {
    return path.length() <= MAX_PATH_CHARS && path.chars().noneMatch(c -> c < ' ' || c == 0x7f);
  }

  private static String quoted(String text) {
    return '"' + text.replace("\"", "\"\"") + '"';
  }
}
