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
 * Files of forkd's own that a known template has in its guest.
 *
 * @param home where forkd is
 */
record OwnFiles(Path home, KnownTemplate template) {
  private static final Set<String> NOT_FOR_GUESTS = Set.of("check", "README.md");
  private static final String TESTS = "test_";

  /** The files by their paths in the guest, in order. */
  Map<String, byte[]> all() {
    Map<String, byte[]> found = new TreeMap<>();
    template.folders().forEach((from, to) -> add(found, home.resolve(from), to));
    return found;
  }

  private static void add(Map<String, byte[]> found, Path folder, String to) {
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        String name = String.valueOf(file.getFileName());
        if (!NOT_FOR_GUESTS.contains(name) && !name.startsWith(TESTS)) {
          found.put(to + "/" + name, Files.readAllBytes(file));
        }
      }
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.INTERNAL, "read what goes into the guest from " + folder + ": " + e, e);
    }
  }

  /** Changes when any of them does. */
  String hash() {
    StringBuilder text = new StringBuilder();
    all()
        .forEach((path, bytes) ->
            text.append(path).append(' ').append(SnapshotFiles.sha256(bytes)).append('\n'));
    return SnapshotFiles.sha256(text.toString().getBytes(StandardCharsets.UTF_8));
  }
}
