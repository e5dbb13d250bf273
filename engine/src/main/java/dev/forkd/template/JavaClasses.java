package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;

/** Java programs for guests, compiled here: a guest without KVM would take most of a minute. */
final class JavaClasses {
  /** The Java that Debian 12 has, and so the guests. */
  private static final String RELEASE = "17";

  private JavaClasses() {}

  /**
   * Class files by their names, such as {@code Main$Inner.class}.
   *
   * @throws ForkdException when a source cannot be compiled, or this is no JDK
   */
  static Map<String, byte[]> compile(Path source) {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    if (compiler == null) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "compile '"
              + source
              + "': the Java at '"
              + System.getProperty("java.home")
              + "' has no compiler; run forkd with a JDK");
    }
    return AssetFiles.orFail("compile '" + source + "'", () -> compile(compiler, source));
  }

  private static Map<String, byte[]> compile(JavaCompiler compiler, Path source)
      throws IOException {
    Path folder = Files.createTempDirectory("forkd-classes-");
    try {
      ByteArrayOutputStream said = new ByteArrayOutputStream();
      int status =
          compiler.run(
              null,
              said,
              said,
              List.of(
                      "--release",
                      RELEASE,
                      "-proc:none",
                      "-nowarn",
                      "-d",
                      folder.toString(),
                      source.toString())
                  .toArray(String[]::new));
      if (status != 0) {
        throw new ForkdException(
            ErrorCode.INTERNAL,
            "compile '" + source + "': javac says: " + said.toString(StandardCharsets.UTF_8));
      }
      Map<String, byte[]> classes = new TreeMap<>();
      try (Stream<Path> files = Files.list(folder)) {
        for (Path file : files.toList()) {
          classes.put(String.valueOf(file.getFileName()), Files.readAllBytes(file));
        }
      }
      return classes;
    } finally {
      AssetFiles.deleteTree(folder);
    }
  }
}
