package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.TemplateSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What goes wrong below the API: each time a clear error, and nothing half-made. */
class BadInputSystemTest {
  @TempDir Path dir;

  @AfterEach
  void nothingHalfMade() throws Exception {
    Lab.clean(Lab.engine());
    assertThat(Lab.engine().snapshots()).extracting(Snapshot::tag).containsOnly(Lab.PYTHON);
    assertThat(Lab.contents("snapshots")).containsExactly("python");
    assertThat(Lab.unfinished()).isEmpty();
    assertThat(Lab.contents("ram")).hasSize(1);
    assertThat(Lab.eval(Lab.forkOne(), "1 + 1")).isEqualTo("2");
    Lab.clean(Lab.engine());
  }

  private static TemplateSpec template(
      TemplateSpec.Source source, Optional<Path> kernel, List<String> run, Duration timeout) {
    return new TemplateSpec(
        new Tag("bad"), source, kernel, 512, 2048, run, List.of(), timeout, false);
  }

  private static final TemplateSpec.Source PYTHON =
      new TemplateSpec.Source.Packages(List.of("python3", "python3-numpy"));

  private static void refused(TemplateSpec spec, String... words) {
    assertThatThrownBy(() -> Lab.engine().bake(spec, line -> {}))
        .isInstanceOfSatisfying(ForkdException.class, e -> assertThat(e.message()).contains(words));
  }

  /** A guest that does not get ready in time is told with the end of its console. */
  @Test
  void neverReady() {
    refused(
        template(PYTHON, Optional.empty(), List.of(), Duration.ofSeconds(1)),
        "did not get ready within 1 s",
        "console");
  }

  /** A kernel that is not there, or is none. */
  @Test
  void noKernel() throws Exception {
    Path missing = dir.resolve("vmlinuz-missing");
    refused(
        template(PYTHON, Optional.of(missing), List.of(), Duration.ofSeconds(20)),
        missing.toString());
    Path nonsense = Files.writeString(dir.resolve("vmlinuz-nonsense"), "this is no kernel");
    assertThatThrownBy(() ->
            Lab.engine()
                .bake(
                    template(PYTHON, Optional.of(nonsense), List.of(), Duration.ofSeconds(3)),
                    line -> {}))
        .isInstanceOf(ForkdException.class);
  }

  /** A root file that is no file system, and one that is not there. */
  @Test
  void noRootImage() throws Exception {
    Path missing = dir.resolve("missing.ext4");
    refused(
        template(
            new TemplateSpec.Source.RootFile(missing),
            Optional.empty(),
            List.of(),
            Duration.ofSeconds(20)),
        missing.toString());
    Path nonsense = Files.write(dir.resolve("nonsense.ext4"), new byte[1 << 20]);
    refused(
        template(
            new TemplateSpec.Source.RootFile(nonsense),
            Optional.empty(),
            List.of(),
            Duration.ofSeconds(20)),
        "nonsense.ext4");
  }

  /** A template's command that fails is told with its output. */
  @Test
  void failingCommand() {
    refused(
        template(
            PYTHON,
            Optional.empty(),
            List.of("echo the reason >&2; exit 3"),
            Duration.ofSeconds(60)),
        "exit 3",
        "the reason");
  }

  /** A full disk refuses the branch, loses nothing, and the next one works when there is room. */
  @Test
  void fullDisk() throws Exception {
    SandboxId source = Lab.forkOne();
    Lab.eval(source, "kept = os.urandom(20 << 20); len(kept)");
    Path staging = Lab.DATA_DIR.resolve("staging");
    if (run("mount", "-t", "tmpfs", "-o", "size=4m", "forkd-test", staging.toString()) != 0) {
      System.err.println("!! NOT TESTED with a full disk: mounting a small tmpfs needs root");
      abort("no small file system can be mounted");
    }
    try {
      assertThatThrownBy(() -> Lab.branch(source, "full", BranchSpec.Mode.DIFF))
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> {
                assertThat(e.code()).isEqualTo(ErrorCode.RESOURCE_EXHAUSTED);
                assertThat(e.message()).contains("No space left", "forkd rmi");
              });
      assertThat(Lab.eval(source, "len(kept)")).isEqualTo(Integer.toString(20 << 20));
      assertThat(Lab.unfinished()).isEmpty();
    } finally {
      assertThat(run("umount", staging.toString())).isZero();
    }
    Lab.branch(source, "full", BranchSpec.Mode.DIFF);
    assertThat(Lab.eval(Lab.fork(new Tag("full"), 1).getFirst(), "len(kept)"))
        .isEqualTo(Integer.toString(20 << 20));
  }

  private static int run(String... command) throws IOException, InterruptedException {
    return new ProcessBuilder(command).inheritIO().start().waitFor();
  }
}
