package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.HostPackages;
import dev.forkd.engine.TemplateSpec.Source;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import dev.forkd.process.Programs;
import dev.forkd.template.OciFixture.Layer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import org.apache.commons.compress.archivers.tar.TarConstants;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.json.JsonMapper;

/** Root images made for real with mke2fs, looked into with debugfs. */
class RootImagesTest {
  private static final int SIZE_MIB = 16;

  @TempDir Path folder;
  private final List<String> progress = new ArrayList<>();
  private RootImages images;

  @BeforeEach
  void tools() {
    Assumptions.assumeTrue(Programs.find("mke2fs").isPresent(), "no e2fsprogs on this host");
    Assumptions.assumeTrue(
        HostPackages.runsAsRoot() || Programs.find("fakeroot").isPresent(),
        "neither root nor fakeroot");
    images = new RootImages(folder.resolve("kept"), folder.resolve("staging"));
  }

  @Test
  void anOciImageBecomesACleanFileSystemWithItsOwners() throws Exception {
    Path image = images.make(new Source.OciLayout(layout("hello")), SIZE_MIB, false, progress::add);
    ProcessRunner.check(Command.of("e2fsck", "-f", "-n", image.toString()));
    assertThat(Files.size(image)).isEqualTo(SIZE_MIB * 1024L * 1024);
    assertThat(debugfs(image, "cat /srv/greeting")).isEqualTo("hello");
    assertThat(debugfs(image, "stat /srv/greeting"))
        .containsPattern("User: +1000 +Group: +1001")
        .containsPattern("Mode: +04755");
    assertThat(debugfs(image, "stat /link")).contains("Fast link dest: \"srv/greeting\"");
    assertThat(debugfs(image, "ls /")).contains("proc", "sys", "dev", "run", "tmp");
    assertThat(debugfs(image, "features"))
        .contains("extent")
        .doesNotContain("has_journal")
        .doesNotContain("metadata_csum");
    assertThat(staged()).as("nothing unfinished is left").containsExactly(name(image));
  }

  @Test
  void theSameImageIsMadeOnceAndEachCallerGetsItsOwnCopy() throws Exception {
    Source source = new Source.OciLayout(layout("hello"));
    Path first = images.make(source, SIZE_MIB, false, progress::add);
    Files.write(first, new byte[0]);
    progress.clear();
    Path second = images.make(source, SIZE_MIB, false, progress::add);
    assertThat(progress).containsExactly("use the root image made before");
    assertThat(second).isNotEqualTo(first);
    assertThat(debugfs(second, "cat /srv/greeting")).isEqualTo("hello");
    images.make(source, SIZE_MIB * 2, false, progress::add);
    assertThat(progress).as("another size is another image").contains("write the file system");
  }

  /** A program's capabilities are bytes; one that cap_setuid is among (0x80) is no UTF-8. */
  @Test
  void extendedAttributesReachTheFileSystemAsTheyAre() throws Exception {
    byte[] capability = HexFormat.of().parseHex("0100000280a00000" + "0".repeat(24));
    Path layout =
        new OciFixture(folder.resolve("attributes"))
            .layer(
                new Layer()
                    .file("first", "1")
                    .program("bin/ping", "security.capability", capability)
                    .program("bin/plain", "trusted.overlay.opaque", new byte[] {'y'})
                    .program("srv/a \"b\" c", "user.comment", new byte[] {'n', 'o', 't', 'e'})
                    .program("srv/x\nrm bin/plain\n", "user.comment", new byte[] {'n'})
                    .file("last", "2")
                    .tar(),
                true)
            .layer(new Layer().hardLink("bin/ping6", "bin/ping"))
            .write();
    Path image = images.make(new Source.OciLayout(layout), SIZE_MIB, false, progress::add);
    ProcessRunner.check(Command.of("e2fsck", "-f", "-n", image.toString()));
    for (String name : List.of("/bin/ping", "/bin/ping6")) {
      Path value = folder.resolve("value");
      debugfs(image, "ea_get -f " + value + " " + name + " security.capability");
      assertThat(Files.readAllBytes(value)).isEqualTo(capability);
      assertThat(debugfs(image, "cat " + name)).isEqualTo("program");
    }
    assertThat(debugfs(image, "ea_list /bin/plain")).doesNotContain("overlay");
    assertThat(debugfs(image, "cat /bin/plain")).isEqualTo("program");
    assertThat(debugfs(image, "ea_list \"/srv/a \"\"b\"\" c\"")).contains("user.comment", "note");
    assertThat(progress).filteredOn(line -> line.startsWith("left out")).hasSize(1);
    assertThat(debugfs(image, "ea_list /first")).doesNotContain("capability");
    assertThat(debugfs(image, "ea_list /last")).doesNotContain("capability");
    assertThat(debugfs(image, "cat /last")).isEqualTo("2");
  }

  /** Without root a bootstrap leaves an archive: what its programs may do is in there only. */
  @Test
  void attributesOfAnArchiveAreFound() throws Exception {
    byte[] capability = HexFormat.of().parseHex("0100000280a00000" + "0".repeat(24));
    Path tar = folder.resolve("root.tar");
    Files.write(
        tar,
        new Layer()
            .file("./a", "1")
            .program("./bin/ping", "security.capability", capability)
            .tar());
    assertThat(Xattrs.of(tar).byPath())
        .containsOnlyKeys("/bin/ping")
        .extractingByKey("/bin/ping")
        .satisfies(found -> assertThat(found.get("security.capability")).isEqualTo(capability));
  }

  /** What the image says of its processes is where the agent looks for it. */
  @Test
  void theImagesConfigGoesIntoTheGuest() throws Exception {
    Path layout =
        new OciFixture(folder.resolve("config"))
            .config(
                """
                {"Env":["PATH=/opt/bin:/bin","A=b=c","broken"],"User":"1000:1001",
                 "WorkingDir":"/srv/app","Entrypoint":["/run-me"],"Cmd":["--fast"]}\
                """)
            .layer(new Layer().file("etc/forkd/defaults.json", "the image's own is not asked"))
            .write();
    Path image = images.make(new Source.OciLayout(layout), SIZE_MIB, false, progress::add);
    assertThat(JsonMapper.shared().readTree(debugfs(image, "cat /etc/forkd/defaults.json")))
        .isEqualTo(
            JsonMapper.shared()
                .readTree(
                    """
                    {"env":{"PATH":"/opt/bin:/bin","A":"b=c"},"user":"1000:1001","cwd":"/srv/app"}\
                    """));
    assertThat(debugfs(image, "stat /srv/app")).contains("Type: directory");
    assertThat(progress).anyMatch(line -> line.contains("would start [/run-me, --fast]"));
  }

  /** Packages get security fixes: what was made of them is used again for a week at most. */
  @Test
  void oldOnesAreMadeAnewAndSoIsWhatIsAskedFor() throws Exception {
    Source source = new Source.OciLayout(layout("hello"));
    images.make(source, SIZE_MIB, false, progress::add);
    progress.clear();
    images.make(source, SIZE_MIB, true, progress::add);
    assertThat(progress).contains("write the file system");
    Path kept = folder.resolve("kept").resolve(folder.resolve("kept").toFile().list()[0]);
    age(kept, 6);
    progress.clear();
    images.make(source, SIZE_MIB, false, progress::add);
    assertThat(progress).containsExactly("use the root image made before");
    age(kept, 8);
    progress.clear();
    images.make(source, SIZE_MIB, false, progress::add);
    assertThat(progress).as("its use has not made it younger").contains("write the file system");
    age(kept, 8);
    images.forgetOld();
    assertThat(folder.resolve("kept")).isEmptyDirectory();
  }

  private static void age(Path file, int days) throws IOException {
    Files.setLastModifiedTime(file, FileTime.from(Instant.now().minus(Duration.ofDays(days))));
  }

  @Test
  void onlyTheNewestAreKept() throws Exception {
    for (int i = 0; i < 6; i++) {
      Files.delete(
          images.make(new Source.OciLayout(layout("v" + i)), SIZE_MIB, false, progress::add));
    }
    assertThat(folder.resolve("kept").toFile().list()).hasSize(4);
  }

  @Test
  void contentThatDoesNotFitSaysSoAndLeavesNothing() throws Exception {
    String big = "0123456789abcdef".repeat(64 * 1024 * 15);
    Path layout =
        new OciFixture(folder.resolve("big"))
            .layer(new Layer().file("big", big).tar(), true)
            .write();
    assertThatThrownBy(
            () -> images.make(new Source.OciLayout(layout), SIZE_MIB, false, progress::add))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("larger disk");
    assertThat(staged()).isEmpty();
    assertThat(folder.resolve("kept").toFile().list()).isEmpty();
  }

  @Test
  void aRootFileIsCopiedAndGrownAndNeverWritten() throws Exception {
    Path original = ext4("original", 8);
    String before = AssetFiles.sha256(original);
    Path grown = images.make(new Source.RootFile(original), SIZE_MIB, false, progress::add);
    assertThat(Files.size(grown)).isEqualTo(SIZE_MIB * 1024L * 1024);
    ProcessRunner.check(Command.of("e2fsck", "-f", "-n", grown.toString()));
    assertThat(debugfs(grown, "cat /greeting")).isEqualTo("hello");
    assertThat(debugfs(grown, "stats")).containsPattern("Block count: +(16384|4096)\\b");
    assertThat(AssetFiles.sha256(original)).isEqualTo(before);
    Path same = images.make(new Source.RootFile(original), 4, false, progress::add);
    assertThat(Files.size(same)).as("never shrunk").isEqualTo(8 * 1024L * 1024);
    assertThat(AssetFiles.sha256(same)).isEqualTo(before);
  }

  @Test
  void whatIsNoFileSystemIsRefused() throws Exception {
    Path text = Files.write(folder.resolve("text"), new byte[2 << 20]);
    for (Path wrong : List.of(text, folder, folder.resolve("nothing"))) {
      assertThatThrownBy(
              () -> images.make(new Source.RootFile(wrong), SIZE_MIB, false, progress::add))
          .isInstanceOfSatisfying(
              ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT))
          .hasMessageContaining("not a raw ext4 image");
    }
    assertThat(staged()).isEmpty();
  }

  @Test
  void packageNamesThatCouldBeOptionsOrPatternsAreRefusedBeforeAnythingRuns() {
    for (String name : List.of("--help", "?essential", "a,b", "A", "", "x y", "../x")) {
      assertThatThrownBy(
              () -> images.make(new Source.Packages(List.of(name)), SIZE_MIB, false, progress::add))
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT));
    }
    assertThat(progress).isEmpty();
  }

  private Path layout(String greeting) throws IOException {
    return new OciFixture(Files.createTempDirectory(folder, "oci"))
        .layer(new Layer().put("srv/greeting", TarConstants.LF_NORMAL, 04755, "", greeting))
        .layer(new Layer().symlink("link", "srv/greeting"))
        .write();
  }

  private Path ext4(String name, int sizeMib) throws IOException {
    Path tree = Files.createDirectory(folder.resolve(name + "-tree"));
    Files.writeString(tree.resolve("greeting"), "hello");
    Path image = folder.resolve(name);
    ProcessRunner.check(Command.of(Ext4.makeCommand(tree, image, sizeMib)));
    return image;
  }

  private static String debugfs(Path image, String request) {
    return ProcessRunner.check(Command.of("debugfs", "-R", request, image.toString())).stdout();
  }

  private List<String> staged() {
    String[] names = folder.resolve("staging").toFile().list();
    return names == null ? List.of() : List.of(names);
  }

  private static String name(Path path) {
    return path.getFileName().toString();
  }
}
