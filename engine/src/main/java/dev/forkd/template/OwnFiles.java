package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.snapshot.SnapshotFiles;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;

/**
 * Files of forkd's own that a known template has in its guest. What belongs to a folder's Java
 * sources is compiled before and goes into its {@code classes}.
 *
 * @param home where forkd is
 */
record OwnFiles(Path home, KnownTemplate template) {
  private static final Set<String> NOT_FOR_GUESTS = Set.of("check", "README.md");
  private static final String TESTS = "test_";
  private static final String JAVA = ".java";

  /** The files by their paths in the guest, in order. */
  Map<String, byte[]> all() {
    Map<String, byte[]> found = new TreeMap<>();
    sources()
        .forEach((path, file) -> {
          if (path.endsWith(JAVA)) {
            String folder = path.substring(0, path.lastIndexOf('/'));
            JavaClasses.compile(file)
                .forEach((name, bytes) -> found.put(folder + "/classes/" + name, bytes));
          } else {
            found.put(path, read(file));
          }
        });
    return found;
  }

  /** The files here by the paths they have in the guest, or would have. */
  private Map<String, Path> sources() {
    Map<String, Path> found = new TreeMap<>();
    template.folders().forEach((from, to) -> add(found, home.resolve(from), to));
    return found;
  }

  private static void add(Map<String, Path> found, Path folder, String to) {
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        String name = String.valueOf(file.getFileName());
        if (!NOT_FOR_GUESTS.contains(name) && !name.startsWith(TESTS)) {
          found.put(to + "/" + name, file);
        }
      }
    } catch (IOException e) {
      throw unreadable(folder, e);
    }
  }

  private static byte[] read(Path file) {
    try {
      return Files.readAllBytes(file);
    } catch (IOException e) {
      throw unreadable(file, e);
    }
  }

  private static ForkdException unreadable(Path path, IOException why) {
    return new ForkdException(
        ErrorCode.INTERNAL, "read what goes into the guest from '" + path + "': " + why, why);
  }

  /** Changes when any of their sources does. */
  String hash() {
    StringBuilder text = new StringBuilder();
    sources()
        .forEach((path, file) ->
            text.append(path).append(' ').append(SnapshotFiles.sha256(read(file))).append('\n'));
    return SnapshotFiles.sha256(text.toString().getBytes(StandardCharsets.UTF_8));
  }
}
