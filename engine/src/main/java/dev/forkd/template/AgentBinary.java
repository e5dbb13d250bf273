package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
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

/** The guest agent, compiled from the sources in the checkout whenever they have changed. */
public final class AgentBinary {
  static final String PROGRAM = "forkd-agent";
  static final String EVALUATOR = "evaluator.py";

  private static final Duration BUILD_TIMEOUT = Duration.ofMinutes(5);

  private final Path sources;
  private final Path folder;

  /**
   * @param forkdHome the checkout, which holds {@code guest/agent}
   * @param folder where built agents are kept, named by the hash of their sources
   */
  public AgentBinary(Path forkdHome, Path folder) {
    this.sources = forkdHome.resolve("guest/agent");
    this.folder = folder;
  }

  /**
   * A built agent.
   *
   * @param binary the static program that is a guest's /init
   * @param evaluator the Python program behind {@code eval}
   * @param sourceHash SHA-256 over the sources, in hexadecimal
   */
  public record Built(Path binary, Path evaluator, String sourceHash) {}

  /** The agent of these very sources, compiled first if need be. */
  public Built build(Consumer<String> progress) {
    Path script = sources.resolve("build");
    if (!Files.isRegularFile(script)) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "the guest agent's sources are not in '"
              + sources
              + "'; set FORKD_HOME to a checkout of forkd");
    }
    return AssetFiles.orFail(
        "build the guest agent from '" + sources + "'",
        () -> {
          String hash = sourceHash();
          Path place = folder.resolve("agent-" + hash.substring(0, 16));
          if (!isComplete(place)) {
            progress.accept("compile the guest agent");
            compile(script, place);
          }
          return new Built(place.resolve(PROGRAM), place.resolve(EVALUATOR), hash);
        });
  }

  private void compile(Path script, Path place) throws IOException {
    Files.createDirectories(folder);
    Path work = Files.createDirectory(AssetFiles.unfinished(place));
    try {
      ProcessRunner.check(
          Command.of(script.toString(), work.toString())
              .in(sources)
              .timeout(BUILD_TIMEOUT)
              .advice("it needs the packages gcc, libc6-dev and libjansson-dev"));
      Path evaluator = work.resolve(EVALUATOR);
      if (!Files.exists(evaluator)) {
        Files.copy(sources.resolve(EVALUATOR), evaluator);
      }
      if (!isComplete(work)) {
        throw new IOException(script + " succeeded but left no " + PROGRAM);
      }
      AssetFiles.deleteTree(place);
      Files.move(work, place, StandardCopyOption.ATOMIC_MOVE);
    } finally {
      AssetFiles.deleteTree(work);
    }
  }

  private static boolean isComplete(Path place) {
    return Files.isExecutable(place.resolve(PROGRAM))
        && Files.isRegularFile(place.resolve(EVALUATOR));
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
