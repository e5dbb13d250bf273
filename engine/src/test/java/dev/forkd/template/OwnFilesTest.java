package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a known template's guest gets of forkd's own files. */
class OwnFilesTest {
  private static final String FOLDER = "guest/interpreter";
  private static final String INSIDE = KnownTemplate.CODE_INTERPRETER.folders().get(FOLDER);

  /** Of class files for Java 17, by the table in section 4.1 of the JVM's specification. */
  private static final byte MAJOR_VERSION = 61;

  @TempDir private Path home;
  private Path folder;

  @BeforeEach
  void makeFolder() throws IOException {
    folder = Files.createDirectories(home.resolve(FOLDER));
    Files.writeString(folder.resolve("server.py"), "print(1)\n");
    Files.writeString(folder.resolve("check"), "exit 1\n");
  }

  private OwnFiles files() {
    return new OwnFiles(home, KnownTemplate.CODE_INTERPRETER);
  }

  /** Java arrives compiled, for the Java that guests have; what is not for guests stays here. */
  @Test
  void javaIsCompiled() throws IOException {
    Files.writeString(
        folder.resolve("Kernel.java"), "class Kernel { record Line(String text) {} }\n");
    Map<String, byte[]> all = files().all();
    assertThat(all)
        .containsOnlyKeys(
            INSIDE + "/server.py",
            INSIDE + "/classes/Kernel.class",
            INSIDE + "/classes/Kernel$Line.class");
    assertThat(all.get(INSIDE + "/classes/Kernel.class")[7]).isEqualTo(MAJOR_VERSION);
  }

  /** The template's own program is such a source. */
  @Test
  void theKernelCompiles() {
    Path forkd = Path.of("..").toAbsolutePath().normalize();
    assertThat(new OwnFiles(forkd, KnownTemplate.CODE_INTERPRETER).all())
        .containsKey(INSIDE + "/classes/JavaKernel.class");
  }

  /** A source that is wrong is told with what the compiler says. */
  @Test
  void wrongJava() throws IOException {
    Files.writeString(folder.resolve("Kernel.java"), "class Kernel { int x = ; }\n");
    assertThatThrownBy(() -> files().all())
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(ErrorCode.INTERNAL);
              assertThat(e.message()).contains("Kernel.java", "illegal start of expression");
            });
  }

  /** A template is made anew when a source changes. */
  @Test
  void hash() throws IOException {
    Path source = folder.resolve("Kernel.java");
    Files.writeString(source, "class Kernel {}\n");
    String before = files().hash();
    assertThat(files().hash()).isEqualTo(before);
    Files.writeString(source, "class Kernel { }\n");
    assertThat(files().hash()).isNotEqualTo(before);
  }
}
