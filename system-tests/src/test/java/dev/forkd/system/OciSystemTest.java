package dev.forkd.system;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.EngineConfig;
import dev.forkd.engine.EngineFactory;
import dev.forkd.engine.ExecResult;
import dev.forkd.engine.ExecSpec;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.UserDefinedFileAttributeView;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * What becomes of an OCI image: its files keep their extended attributes, and its environment, user
 * and folder are what commands and code run with, in children, in branches and after a restart.
 */
@Timeout(300)
class OciSystemTest {
  private static final Tag APP = new Tag("oci-app");
  private static final String SAY = "echo $(id -u) $(id -g) $HOME $(pwd) $APP_MODE";
  private static final byte[] BYTES = {(byte) 0xff, 0, (byte) 0x80, 'x'};

  @TempDir Path folder;

  /** Makes what the data directory needs first: not on the time of a test. */
  @BeforeEach
  void bake() {
    Lab.clean(Lab.engine());
  }

  @AfterEach
  void clean() {
    Lab.clean(Lab.engine());
  }

  @Test
  void theImagesConfigIsTheDefaultOfAllThatRunsInIt() throws Exception {
    List<String> progress = new ArrayList<>();
    Lab.engine().bake(recipe(layout()), progress::add);
    assertThat(progress).anyMatch(line -> line.contains("would start [/bin/sh, -c, exit 7]"));
    SandboxId child = Lab.fork(APP, 1).getFirst();
    assertThat(Lab.sh(child, SAY)).isEqualTo("4711 4712 / /srv/app fast\n");
    assertThat(Lab.sh(child, "cat /made-by-run")).as("--run is root's").isEqualTo("0 fast\n");
    assertThat(Lab.eval(child, "os.getuid(), os.getgid(), os.getcwd(), os.environ['APP_MODE']"))
        .isEqualTo("(4711, 4712, '/srv/app', 'fast')");
    assertThat(Lab.eval(child, "os.getxattr('/srv/app/marked', 'user.forkd')"))
        .isEqualTo("b'\\xff\\x00\\x80x'");
    assertThat(otherwise(child)).isEqualTo("0 0 /root / slow\n");

    Lab.branch(child, "oci-branch", BranchSpec.Mode.DIFF);
    SandboxId grandchild = Lab.fork(new Tag("oci-branch"), 1).getFirst();
    assertThat(Lab.sh(grandchild, SAY)).isEqualTo("4711 4712 / /srv/app fast\n");

    // Another engine, which ends the sandboxes of the former.
    Lab.release();
    SandboxId later = Lab.fork(new Tag("oci-branch"), 1).getFirst();
    assertThat(Lab.sh(later, SAY)).isEqualTo("4711 4712 / /srv/app fast\n");
  }

  /** A snapshot keeps the agent it was made with; one of the same protocol serves on. */
  @Test
  void aTemplateOfAnOlderAgentIsForkedAndUsed() throws Exception {
    Path layout = layout();
    Lab.engine();
    Lab.release();
    Optional<String> home = Optional.ofNullable(System.getProperty("forkd.home"));
    System.setProperty("forkd.home", olderCheckout().toString());
    try (ForkdEngine older = EngineFactory.open(new EngineConfig(Lab.DATA_DIR, 4, true))) {
      older.bake(recipe(layout), _ -> {});
    } finally {
      System.clearProperty("forkd.home");
      home.ifPresent(path -> System.setProperty("forkd.home", path));
    }
    SandboxId child = Lab.fork(APP, 1).getFirst();
    assertThat(Lab.engine().ping(child).agentVersion()).isEqualTo("0.9.0");
    assertThat(Lab.sh(child, SAY)).isEqualTo("4711 4712 / /srv/app fast\n");
    assertThat(Lab.eval(child, "6 * 7")).isEqualTo("42");
    Lab.branch(child, "oci-branch", BranchSpec.Mode.LIVE);
    assertThat(Lab.eval(Lab.fork(new Tag("oci-branch"), 1).getFirst(), "6 * 8")).isEqualTo("48");
  }

  /**
   * Sources of an agent that has another version and does not tell its protocol and its streams
   * yet.
   */
  private Path olderCheckout() throws IOException {
    Path here = Path.of("").toAbsolutePath().getParent();
    Path older = Files.createDirectory(folder.resolve("older"));
    for (String part : List.of("guest", "vmm/native")) {
      try (Stream<Path> files = Files.walk(here.resolve(part))) {
        for (Path file : files.filter(Files::isRegularFile).toList()) {
          Path copy = older.resolve(here.relativize(file));
          Files.createDirectories(copy.getParent());
          Files.copy(file, copy, StandardCopyOption.COPY_ATTRIBUTES);
        }
      }
    }
    replace(
        older.resolve("guest/agent/agent.h"), "AGENT_VERSION \"1.0.0\"", "AGENT_VERSION \"0.9.0\"");
    replace(
        older.resolve("guest/agent/eval.c"),
        "\"{s:s,s:i,s:s,s:i}\", \"agent\", AGENT_VERSION, \"protocol\", AGENT_PROTOCOL,"
            + " \"evaluator\", eval_state(), \"streams\", MAX_STREAMS",
        "\"{s:s,s:s}\", \"agent\", AGENT_VERSION, \"evaluator\", eval_state()");
    return older;
  }

  private static void replace(Path file, String text, String by) throws IOException {
    String content = Files.readString(file);
    assertThat(content).contains(text);
    Files.writeString(file, content.replace(text, by));
  }

  /** An image is known by its manifest, wherever and whenever it was exported. */
  @Test
  void aChangedExportIsSeenAndAnEqualOneIsNotMadeAgain() throws Exception {
    Path layout = layout();
    List<String> progress = new ArrayList<>();
    Lab.engine().bake(recipe(layout), progress::add);
    progress.clear();
    Path moved = Files.move(layout, folder.resolve("moved"));
    Lab.engine().bake(recipe(moved), progress::add);
    assertThat(progress).anyMatch(line -> line.contains("is there already"));
    // In place, and with size and time as they were.
    Path index = moved.resolve("index.json");
    var before = Files.getLastModifiedTime(index);
    var folderBefore = Files.getLastModifiedTime(moved);
    String manifest = manifest(moved, config(moved, "{\"User\":\"4713\"}"), List.of());
    Files.writeString(index, manifest);
    Files.setLastModifiedTime(index, before);
    Files.setLastModifiedTime(moved, folderBefore);
    assertThatThrownBy(() -> Lab.engine().bake(recipe(moved), progress::add))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.ALREADY_EXISTS));
  }

  private static String otherwise(SandboxId id) {
    ExecSpec plain = ExecSpec.of(List.of("sh", "-c", SAY), Lab.PATIENCE);
    ExecResult result =
        Lab.engine()
            .exec(
                id,
                new ExecSpec(
                    plain.args(),
                    Map.of("APP_MODE", "slow"),
                    Optional.of("/"),
                    Optional.of("root"),
                    plain.stdin(),
                    false,
                    plain.timeout(),
                    false,
                    plain.outputLimitBytes()));
    return new String(result.stdout(), StandardCharsets.UTF_8);
  }

  private static TemplateSpec recipe(Path layout) {
    return new TemplateSpec(
        APP,
        new TemplateSpec.Source.OciLayout(layout),
        Optional.empty(),
        256,
        512,
        List.of("echo $(id -u) $APP_MODE > /made-by-run"),
        List.of(),
        Duration.ofMinutes(2),
        false);
  }

  /** An image of a few programs of this host's. */
  private Path layout() throws Exception {
    Path layout = Files.createDirectory(folder.resolve("app"));
    Path app = Files.createDirectories(folder.resolve("files/srv/app"));
    Path marked = Files.writeString(app.resolve("marked"), "x");
    Files.getFileAttributeView(marked, UserDefinedFileAttributeView.class)
        .write("forkd", ByteBuffer.wrap(BYTES));
    List<String> command =
        new ArrayList<>(
            List.of(
                "tar",
                "--create",
                "--format=pax",
                "--xattrs",
                "--dereference",
                "--exclude=__pycache__",
                "--exclude=dist-packages",
                "--exclude=config-*",
                "--directory=" + folder.resolve("files"),
                "srv",
                "--directory=/"));
    List<String> programs = List.of("/bin/sh", "/usr/bin/id", "/bin/cat", "/usr/bin/python3");
    for (String program : programs) {
      command.add(program.substring(1));
      libraries(program).forEach(path -> command.add(path.substring(1)));
    }
    Path version = Path.of("/usr/bin/python3").toRealPath().getFileName();
    command.add("usr/lib/" + version);
    String libraries = "/usr/lib/" + version + "/lib-dynload";
    try (Stream<Path> modules = Files.list(Path.of(libraries))) {
      for (Path module : modules.toList()) {
        libraries(module.toString()).forEach(path -> command.add(path.substring(1)));
      }
    }
    Path tar = folder.resolve("layer.tar");
    ProcessRunner.check(
        Command.of(command.stream().distinct().toList())
            .stdoutTo(tar)
            .timeout(Duration.ofMinutes(1)));
    String config =
        config(
            layout,
            """
            {"Env":["APP_MODE=fast","PATH=/usr/local/bin:/usr/bin:/bin"],"User":"4711:4712",
             "WorkingDir":"/srv/app","Entrypoint":["/bin/sh","-c"],"Cmd":["exit 7"]}\
            """);
    Files.writeString(
        layout.resolve("index.json"),
        manifest(layout, config, List.of(blob(layout, Files.readAllBytes(tar)))));
    return layout;
  }

  private static List<String> libraries(String program) {
    return ProcessRunner.check(Command.of("ldd", program))
        .stdout()
        .lines()
        .map(line -> line.replaceFirst(".*=> ", "").strip().replaceFirst(" .*", ""))
        .filter(path -> path.startsWith("/"))
        .toList();
  }

  private static String config(Path layout, String config) throws Exception {
    return blob(layout, ("{\"config\":" + config + "}").getBytes(StandardCharsets.UTF_8));
  }

  /** Writes a manifest and gives the index that names it. */
  private static String manifest(Path layout, String config, List<String> layers) throws Exception {
    String manifest = "{\"config\":" + config + ",\"layers\":[" + String.join(",", layers) + "]}";
    return "{\"manifests\":[" + blob(layout, manifest.getBytes(StandardCharsets.UTF_8)) + "]}";
  }

  private static String blob(Path layout, byte[] content) throws IOException, Exception {
    String hex = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(content));
    Files.createDirectories(layout.resolve("blobs/sha256"));
    Files.write(layout.resolve("blobs/sha256").resolve(hex), content);
    return "{\"digest\":\"sha256:" + hex + "\",\"size\":" + content.length + "}";
  }
}
