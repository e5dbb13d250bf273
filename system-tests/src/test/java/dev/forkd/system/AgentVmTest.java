package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.ObjectMapper;

/** The agent's own tests, which run on the host elsewhere, against the agent as PID 1 of a VM. */
class AgentVmTest {
  private static final Path GUEST = Lab.DATA_DIR.resolve("guest");

  @TempDir Path folder;

  @BeforeEach
  void bake() {
    Lab.clean(Lab.engine());
  }

  private static Path newest(Path root, String glob) throws IOException {
    try (Stream<Path> all = Files.walk(root, 4)) {
      return all.filter(
              path -> path.getFileSystem().getPathMatcher("glob:**/" + glob).matches(path))
          .max(Comparator.comparingLong(path -> path.toFile().lastModified()))
          .orElseThrow(() -> new AssertionError("no " + glob + " below " + root));
    }
  }

  /** The disk that the template {@code python} was booted from: what the tests run is in it. */
  private static Path python() throws IOException {
    Path manifest =
        Lab.DATA_DIR.resolve("snapshots").resolve(Lab.PYTHON.value()).resolve("snapshot.json");
    JsonNode root = new ObjectMapper().readTree(manifest.toFile()).path("disk").path(0);
    return Lab.DATA_DIR
        .resolve("images")
        .resolve(root.path("id").asString() + "." + root.path("format").asString());
  }

  private void run(Path in, List<String> command, Path output) throws Exception {
    Process process =
        new ProcessBuilder(command)
            .directory(in.toFile())
            .redirectErrorStream(true)
            .redirectOutput(output.toFile())
            .start();
    try {
      boolean ended = process.waitFor(8, TimeUnit.MINUTES);
      assertThat(ended).as("%s: %s", command, Files.readString(output)).isTrue();
      assertThat(process.exitValue()).as("%s: %s", command, Files.readString(output)).isZero();
    } finally {
      process.descendants().forEach(ProcessHandle::destroy);
      process.destroy();
    }
  }

  /**
   * What the agent promises holds where it is the first process, with a real kernel and disk;
   * malformed frames included.
   */
  @Test
  @EnabledIfEnvironmentVariable(named = "FORKD_TEST_ALL", matches = "1")
  @Timeout(600)
  void agentAsFirstProcess() throws Exception {
    Path initramfs = Files.createDirectory(folder.resolve("initramfs"));
    Path packed = newest(GUEST, "initramfs-*.cpio");
    run(
        initramfs,
        List.of("sh", "-c", "cpio -idm --quiet <\"$1\"", "sh", packed.toString()),
        folder.resolve("unpacked"));
    Path output = folder.resolve("tests");
    run(
        folder,
        List.of(
            Path.of("..", "guest", "tools", "agent_vm").toAbsolutePath().normalize().toString(),
            newest(GUEST, "boot/vmlinuz-*").toString(),
            initramfs.toString(),
            python().toString()),
        output);
    String told = Files.readString(output);
    assertThat(told).contains("\nOK");
    System.out.println(told.lines().filter(line -> line.startsWith("Ran ")).findFirst().orElse(""));
  }
}
