package dev.forkd.house;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** How the sources look. Each finding names the file, the line and what to write instead. */
class TidyTest {
  private static final int LINES_LIMIT = 800;
  private static final Path ROOT = root();
  private static final Set<String> SKIPPED = Set.of("target", "build", "out", "node_modules");

  /** Built by hand so that this file does not find itself. */
  private static final Pattern LEFTOVER = Pattern.compile("\\b(TO" + "DO|FIX" + "ME|XX" + "X)\\b");

  /** What must not be called in shipped Java code, and what to use instead. */
  private static final Map<Pattern, String> BANNED =
      Map.of(
          Pattern.compile("new Thread\\("), "dev.forkd.api.Threads, so that it has a name",
          Pattern.compile("Executors\\.new"), "dev.forkd.api.Threads, so that threads have names",
          Pattern.compile("\\.printStackTrace\\("), "the logger, or a ForkdException with a cause",
          Pattern.compile("catch \\(InterruptedException ignored"),
              "Thread.currentThread().interrupt()",
          Pattern.compile("throw new RuntimeException\\("), "ForkdException with an ErrorCode",
          Pattern.compile("\\.getBytes\\(\\)"), "getBytes with a character set");

  private static final Pattern LINK = Pattern.compile("\\]\\(([^)#\\s]+)(#[^)]*)?\\)");

  /** A file one cannot read in one sitting is split. */
  @Test
  void filesAreShort() throws IOException {
    List<String> findings = new ArrayList<>();
    for (Path file : sources(".java", ".c", ".h", ".sh", ".py", ".ts")) {
      int lines = Files.readAllLines(file).size();
      if (lines > LINES_LIMIT) {
        findings.add(at(file, 1) + lines + " lines, at most " + LINES_LIMIT + ": split it");
      }
    }
    assertThat(findings).isEmpty();
  }

  /** What is not done is an issue, not a comment. */
  @Test
  void nothingIsLeftOver() throws IOException {
    assertThat(find(sources(".java", ".c", ".h", ".sh", ".md", ".xml", ".yaml"), LEFTOVER))
        .as("leftover markers: do it, or file an issue")
        .isEmpty();
  }

  /** Every package says what it is for and is null-marked. */
  @Test
  void packagesAreDescribed() throws IOException {
    List<String> findings = new ArrayList<>();
    for (Path file : sources(".java")) {
      Path folder = file.getParent();
      if (folder == null || !folder.toString().contains("/src/main/java/")) {
        continue;
      }
      Path info = folder.resolve("package-info.java");
      if (!Files.exists(info)) {
        findings.add(ROOT.relativize(folder) + ": add a package-info.java with @NullMarked");
      } else if (file.equals(info)) {
        String text = Files.readString(info);
        if (!text.startsWith("/**") || !text.contains("@NullMarked")) {
          findings.add(at(info, 1) + "needs a Javadoc sentence and @NullMarked");
        }
      }
    }
    assertThat(findings.stream().distinct()).isEmpty();
  }

  /** Calls that have a better form here. */
  @Test
  void bannedCalls() throws IOException {
    List<Path> shipped =
        sources(".java").stream()
            .filter(file -> file.toString().contains("/src/main/"))
            .filter(file -> !file.endsWith("dev/forkd/api/Threads.java"))
            .toList();
    assertThat(shipped).hasSizeGreaterThan(50);
    for (Map.Entry<Pattern, String> ban : BANNED.entrySet()) {
      assertThat(find(shipped, ban.getKey())).as("use %s", ban.getValue()).isEmpty();
    }
  }

  /** Links between documents, and from them to sources, lead somewhere. */
  @Test
  void linksResolve() throws IOException {
    List<String> findings = new ArrayList<>();
    for (Path file : sources(".md")) {
      Matcher link = LINK.matcher(Files.readString(file));
      while (link.find()) {
        String target = link.group(1);
        if (!target.contains(":") && !Files.exists(file.resolveSibling(target))) {
          findings.add(ROOT.relativize(file) + " links to " + target + ", which does not exist");
        }
      }
    }
    assertThat(findings).isEmpty();
  }

  /** Decision records are numbered without gaps and have the same sections. */
  @Test
  void decisionsAreNumbered() throws IOException {
    List<Path> records;
    try (var listed = Files.list(ROOT.resolve("docs/adr"))) {
      records = listed.sorted().toList();
    }
    for (int i = 0; i < records.size(); i++) {
      String name = String.valueOf(records.get(i).getFileName());
      assertThat(name).matches("%04d-[a-z0-9-]+\\.md".formatted(i + 1));
      assertThat(Files.readString(records.get(i)))
          .as(name)
          .contains(
              "## Context", "## Decision", "## Consequences", "## What would change our mind");
    }
  }

  private static List<String> find(List<Path> files, Pattern pattern) throws IOException {
    List<String> findings = new ArrayList<>();
    for (Path file : files) {
      List<String> lines = Files.readAllLines(file);
      for (int i = 0; i < lines.size(); i++) {
        if (pattern.matcher(lines.get(i)).find()) {
          findings.add(at(file, i + 1) + lines.get(i).strip());
        }
      }
    }
    return findings;
  }

  private static String at(Path file, int line) {
    return ROOT.relativize(file) + ":" + line + ": ";
  }

  private static List<Path> sources(String... endings) throws IOException {
    List<Path> found = new ArrayList<>();
    Files.walkFileTree(
        ROOT,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult preVisitDirectory(Path dir, BasicFileAttributes attributes) {
            String name = String.valueOf(dir.getFileName());
            return !dir.equals(ROOT) && (name.startsWith(".") || SKIPPED.contains(name))
                ? FileVisitResult.SKIP_SUBTREE
                : FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
            for (String ending : endings) {
              if (attributes.isRegularFile() && file.toString().endsWith(ending)) {
                found.add(file);
              }
            }
            return FileVisitResult.CONTINUE;
          }
        });
    assertThat(found).isNotEmpty();
    found.sort(null);
    return found;
  }

  private static Path root() {
    Path dir = Path.of("").toAbsolutePath();
    while (dir != null && !Files.exists(dir.resolve("mvnw"))) {
      dir = dir.getParent();
    }
    if (dir == null) {
      throw new IllegalStateException("run inside the repository");
    }
    return dir;
  }
}
