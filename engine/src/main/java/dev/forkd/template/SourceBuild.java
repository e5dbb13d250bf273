package dev.forkd.template;

import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;

/**
 * A folder of C sources with a script {@code build}, compiled whenever they have changed. What is
 * built is kept under the hash of its sources, whole or not at all.
 *
 * @param sources the folder
 * @param folder where what is built is kept
 * @param name the program that the script leaves in the folder it is given
 * @param others further files of the sources that belong beside it
 * @param packages what has to be installed for it, for people
 */
record SourceBuild(Path sources, Path folder, String name, List<String> others, String packages) {
  private static final Duration BUILD_TIMEOUT = Duration.ofMinutes(5);

  /** What was built, and the SHA-256 of its sources in hexadecimal. */
  record Built(Path place, String sourceHash) {}

  boolean hasSources() {
    return Files.isRegularFile(sources.resolve("build"));
  }

  /**
   * What these very sources give, compiled first if need be.
   *
   * @param what for people, such as {@code the guest agent}
   */
  Built build(String what, Consumer<String> progress) {
    return AssetFiles.orFail(
        "build " + what + " from '" + sources + "'",
        () -> {
          String hash = sourceHash();
          Path place = folder.resolve(name.replace("forkd-", "") + "-" + hash.substring(0, 16));
          if (!isComplete(place)) {
            progress.accept("compile " + what);
            compile(place);
          }
          return new Built(place, hash);
        });
  }

  private void compile(Path place) throws IOException {
    Files.createDirectories(folder);
    Path work = Files.createDirectory(AssetFiles.unfinished(place));
    try {
      ProcessRunner.check(
          Command.of(sources.resolve("build").toString(), work.toString())
              .in(sources)
              .timeout(BUILD_TIMEOUT)
              .advice("it needs the packages " + packages));
      for (String other : others) {
        if (!Files.exists(work.resolve(other))) {
          Files.copy(sources.resolve(other), work.resolve(other));
        }
      }
      if (!isComplete(work)) {
        throw new IOException(sources.resolve("build") + " succeeded but left no " + name);
      }
      AssetFiles.deleteTree(place);
      Files.move(work, place, StandardCopyOption.ATOMIC_MOVE);
    } finally {
      AssetFiles.deleteTree(work);
    }
  }

  private boolean isComplete(Path place) {
    return Files.isExecutable(place.resolve(name))
        && others.stream().allMatch(other -> Files.isRegularFile(place.resolve(other)));
  }

  /** Over names and contents of all files there that git would not ignore as built. */
  private String sourceHash() throws IOException {
    List<Path> files;
    try (Stream<Path> tree = Files.walk(sources)) {
      files =
          tree.filter(Files::isRegularFile)
              .filter(path -> !isBuilt(sources.relativize(path)))
              .sorted()
              .toList();
    }
    MessageDigest digest = AssetFiles.sha256();
    for (Path file : files) {
      byte[] content = Files.readAllBytes(file);
      String head = sources.relativize(file) + "\0" + content.length + "\0";
      digest.update(head.getBytes(StandardCharsets.UTF_8));
      digest.update(content);
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  private static boolean isBuilt(Path relative) {
    String first = relative.getName(0).toString();
    return first.equals("target")
        || first.equals("out")
        || first.equals("test")
        || first.equals("tests")
        || relative.toString().endsWith(".o");
  }
}
