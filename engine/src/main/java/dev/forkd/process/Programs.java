package dev.forkd.process;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/** Finds programs as a shell would, and also where only root's PATH leads. */
public final class Programs {
  private static final List<String> SYSTEM_FOLDERS =
      List.of("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin");

  private Programs() {}

  /** The executable called {@code name}; a name with a slash is taken as a path. */
  public static Optional<Path> find(String name) {
    if (name.indexOf('/') >= 0) {
      return Optional.of(Path.of(name).toAbsolutePath()).filter(Files::isExecutable);
    }
    return folders()
        .map(folder -> Path.of(folder, name))
        .filter(path -> Files.isRegularFile(path) && Files.isExecutable(path))
        .findFirst();
  }

  /** The search path handed to child processes. */
  static String path() {
    return String.join(File.pathSeparator, folders().distinct().toList());
  }

  private static Stream<String> folders() {
    String path = System.getenv("PATH");
    Stream<String> own =
        path == null ? Stream.empty() : Stream.of(path.split(File.pathSeparator, -1));
    return Stream.concat(own.filter(folder -> folder.startsWith("/")), SYSTEM_FOLDERS.stream());
  }
}
