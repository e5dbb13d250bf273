package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import dev.forkd.process.Programs;
import dev.forkd.template.OciFixture.Layer;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.archivers.tar.TarConstants;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** How layers become one tree, and that no image can reach outside it. */
class OciLayoutTest {
  private static final int DISK_MIB = 64;

  @TempDir Path folder;

  @Test
  void laterLayersReplaceAddAndRemove() throws Exception {
    Map<String, String> tree =
        merge(
            new Layer()
                .folder("a", 0750)
                .file("a/kept", "1")
                .file("a/replaced", "old")
                .file("a/removed", "x")
                .folder("gone", 0755)
                .file("gone/deep/file", "x"),
            new Layer().file("a/replaced", "new").file("a/.wh.removed", "").file(".wh.gone", ""),
            new Layer().file("a/added", "2"));
    assertThat(tree)
        .containsEntry("a/", "folder 750")
        .containsEntry("a/kept", "1")
        .containsEntry("a/replaced", "new")
        .containsEntry("a/added", "2")
        .doesNotContainKeys("a/removed", "gone/", "gone/deep/file");
    assertThat(tree.keySet()).noneMatch(name -> name.contains(".wh."));
  }

  @Test
  void anOpaqueFolderHidesOnlyWhatIsBelowInWhateverOrder() throws Exception {
    Map<String, String> tree =
        merge(
            new Layer().file("a/lower", "x").file("a/sub/lower", "x"),
            new Layer().file("a/upper", "1").file("a/.wh..wh..opq", "").file("a/sub/upper", "2"));
    assertThat(tree)
        .containsEntry("a/upper", "1")
        .containsEntry("a/sub/upper", "2")
        .doesNotContainKeys("a/lower", "a/sub/lower");
  }

  @Test
  void aRemovedNameCanBeAddedInTheSameLayer() throws Exception {
    Map<String, String> tree =
        merge(new Layer().file("f", "old"), new Layer().file("f", "new").file(".wh.f", ""));
    assertThat(tree).containsEntry("f", "new");
  }

  @Test
  void filesLandWhereTheImagesOwnLinksLead() throws Exception {
    Map<String, String> tree =
        merge(
            new Layer().folder("usr/bin", 0755).symlink("bin", "usr/bin").symlink("abs", "/usr"),
            new Layer().file("bin/tool", "1").file("abs/share/doc", "2"));
    assertThat(tree)
        .containsEntry("bin", "-> usr/bin")
        .containsEntry("usr/bin/tool", "1")
        .containsEntry("usr/share/doc", "2");
  }

  /** What stands before an entry is read by us as well as by the library. */
  @Test
  void recordsOfAttributesThatAreNonsenseAreRefused() {
    for (String record :
        List.of("1a SCHILY.xattr.user.a=1\n", "99 SCHILY.xattr.user.a=1\n", "5 a\n")) {
      assertRefused(new Layer().records(record).file("a", "1"), "attributes is cut short");
    }
  }

  /** Where it lies, as a folder or an archive, and when it was written: all that is the same. */
  @Test
  void anImageIsKnownByItsDigest() throws Exception {
    Path layout =
        new OciFixture(folder.resolve("layout")).layer(new Layer().file("a", "1")).write();
    String identity = OciLayout.identity(layout);
    assertThat(identity).isEqualTo(OciLayout.open(layout, folder).image().digest());
    Path tar = folder.resolve("layout.tar");
    ProcessRunner.check(
        Command.of(
            "tar", "--create", "--file", tar.toString(), "--directory", layout.toString(), "."));
    assertThat(OciLayout.identity(tar)).isEqualTo(identity);
    Path other =
        new OciFixture(folder.resolve("other"))
            .config("{\"User\":\"1\"}")
            .layer(new Layer().file("a", "1"))
            .write();
    assertThat(OciLayout.identity(other)).isNotEqualTo(identity);
  }

  @Test
  void aLinkOutOfTheImageLeadsBackIntoIt() throws Exception {
    Map<String, String> tree =
        merge(
            new Layer()
                .symlink("up", "../../../../../../tmp/forkd-outside")
                .symlink("root", "/")
                .file("up/escaped", "1")
                .file("root/etc/passwd2", "2"));
    assertThat(tree)
        .containsEntry("tmp/forkd-outside/escaped", "1")
        .containsEntry("etc/passwd2", "2")
        .containsEntry("up", "-> ../../../../../../tmp/forkd-outside");
    assertThat(Path.of("/tmp/forkd-outside")).doesNotExist();
  }

  @Test
  void symbolicLinksComeLastSoThatUnpackingFollowsNone() throws Exception {
    merge(new Layer().symlink("a", "/etc").file("z", "1").hardLink("y", "z").folder("d", 0755));
    List<String> names = new java.util.ArrayList<>();
    int links = 0;
    try (TarArchiveInputStream in =
        new TarArchiveInputStream(Files.newInputStream(folder.resolve("merged.tar")))) {
      for (TarArchiveEntry e = in.getNextEntry(); e != null; e = in.getNextEntry()) {
        names.add(e.getName());
        links += e.isSymbolicLink() ? 1 : 0;
      }
    }
    assertThat(links).isEqualTo(1);
    assertThat(names.getLast()).isEqualTo("a");
  }

  @Test
  void namesThatClimbAreRefused() {
    assertRefused(new Layer().file("a/../../escaped", "x"), "points outside");
    assertRefused(new Layer().file("a", "x").hardLink("b", "../../etc/passwd"), "points outside");
  }

  @Test
  void absoluteNamesAreTakenFromTheRootOfTheImage() throws Exception {
    assertThat(merge(new Layer().file("/srv/x", "1"))).containsEntry("srv/x", "1");
  }

  @Test
  void hardLinksShareTheirFileAndMustHaveOne() throws Exception {
    Map<String, String> tree =
        merge(
            new Layer().file("a", "old"),
            new Layer().hardLink("b", "a").file("c", "x").hardLink("d", "c"),
            new Layer().file("a", "new").file(".wh.c", ""));
    assertThat(tree)
        .as("a link keeps the file it was made to, also when that name is replaced or removed")
        .containsEntry("a", "new")
        .containsEntry("b", "old")
        .containsEntry("d", "x")
        .doesNotContainKey("c");
    assertRefused(new Layer().hardLink("b", "nothing"), "hard link to 'nothing'");
    assertRefused(new Layer().folder("f", 0755).hardLink("b", "f"), "hard link to 'f'");
  }

  @Test
  void circlesOfLinksAndFoldersUnderFilesAreRefused() {
    assertRefused(new Layer().symlink("a", "b").symlink("b", "a").file("a/x", "1"), "circle");
    assertRefused(new Layer().file("a", "1").file("a/x", "1"), "used as a folder");
    assertRefused(new Layer().file("x/".repeat(300) + "f", "1"), "deep");
  }

  @Test
  void foldersNestedThroughLinksAreBoundedToo() {
    Layer layer = new Layer();
    String deep = "x/".repeat(50);
    layer.folder(deep + "end", 0755).symlink("l0", deep + "end");
    for (int i = 1; i < 10; i++) {
      layer.folder("l" + (i - 1) + "/" + deep + "end", 0755);
      layer.symlink("l" + i, "l" + (i - 1) + "/" + deep + "end");
    }
    assertRefused(layer, "deep");
  }

  @Test
  void deviceNodesAreLeftOut() throws Exception {
    assertThat(
            merge(
                new Layer()
                    .put("sda", TarConstants.LF_BLK, 0666, "", "")
                    .put("kmem", TarConstants.LF_CHR, 0666, "", "")
                    .put("pipe", TarConstants.LF_FIFO, 0600, "", "")))
        .containsKey("pipe")
        .doesNotContainKeys("sda", "kmem");
  }

  @Test
  void ownersModesAndTimesAreKept() throws Exception {
    merge(new Layer().put("s", TarConstants.LF_NORMAL, 04755, "", "x"));
    TarArchiveEntry entry = entry("s");
    assertThat(entry.getMode()).isEqualTo(04755);
    assertThat(entry.getLongUserId()).isEqualTo(1000);
    assertThat(entry.getLongGroupId()).isEqualTo(1001);
    assertThat(entry.getLastModifiedTime().toMillis()).isEqualTo(1_700_000_000_000L);
  }

  @Test
  void whatTheAgentNeedsIsAddedWhateverTheImageHas() throws Exception {
    Map<String, String> tree =
        merge(
            new Layer()
                .symlink("etc", "/config")
                .symlink("config/machine-id", "/somewhere")
                .file("proc", "not a folder")
                .folder("tmp", 0700));
    assertThat(tree)
        .containsEntry("config/machine-id", "")
        .containsEntry("config/hostname", "forkd\n")
        .containsEntry("proc/", "folder 755")
        .containsEntry("tmp/", "folder 700")
        .containsEntry("dev/", "folder 755");
  }

  @Test
  void compressedLayersAreRead() throws Exception {
    OciFixture fixture = new OciFixture(folder.resolve("layout"));
    fixture.layer(new Layer().file("gzip", "1").tar(), true);
    Assumptions.assumeTrue(Programs.find("zstd").isPresent(), "no zstd on this host");
    Path tar = Files.write(folder.resolve("zstd.tar"), new Layer().file("zstd", "2").tar());
    ProcessRunner.check(Command.of("zstd", "-q", tar.toString()));
    fixture.layer(Files.readAllBytes(folder.resolve("zstd.tar.zst")), false);
    assertThat(mergeLayout(fixture.write())).containsEntry("gzip", "1").containsEntry("zstd", "2");
  }

  @Test
  void aTarOfALayoutIsReadAndOtherNamesInItAreIgnored() throws Exception {
    Path layout = new OciFixture(folder.resolve("l")).layer(new Layer().file("f", "1")).write();
    Layer archive = new Layer().file("../escaped", "x").file("blobs/sha256/../../escaped", "x");
    try (java.util.stream.Stream<Path> files = Files.walk(layout)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        archive.file(layout.relativize(file).toString(), read(file));
      }
    }
    Path tar = Files.write(folder.resolve("image.tar"), archive.tar());
    assertThat(mergeLayout(tar)).containsEntry("f", "1");
    try (java.util.stream.Stream<Path> files = Files.walk(folder)) {
      assertThat(files.filter(path -> path.endsWith("escaped"))).isEmpty();
    }
  }

  @Test
  void damagedMissingAndForeignPartsAreNamed() throws Exception {
    Path layout = new OciFixture(folder.resolve("l")).layer(new Layer().file("f", "1")).write();
    Path blob;
    try (java.util.stream.Stream<Path> blobs = Files.list(layout.resolve("blobs/sha256"))) {
      blob = blobs.max(java.util.Comparator.comparingLong(p -> p.toFile().length())).orElseThrow();
    }
    Files.write(blob, new byte[] {1}, java.nio.file.StandardOpenOption.APPEND);
    assertThatThrownBy(() -> mergeLayout(layout))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.DATA_LOSS))
        .hasMessageContaining(blob.getFileName().toString());
    Files.delete(blob);
    assertThatThrownBy(() -> mergeLayout(layout)).hasMessageContaining("is missing");
    assertThatThrownBy(() -> mergeLayout(folder.resolve("nothing")))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND));
    Files.writeString(layout.resolve("index.json"), "{ not json");
    assertThatThrownBy(() -> mergeLayout(layout)).hasMessageContaining("not JSON");
    Files.writeString(
        layout.resolve("index.json"), "{\"manifests\":[{\"digest\":\"sha256:../../etc\"}]}");
    assertThatThrownBy(() -> mergeLayout(layout)).hasMessageContaining("not a sha256 digest");
  }

  @Test
  void ofAMultiPlatformImageOursIsTaken() throws Exception {
    OciFixture fixture = new OciFixture(folder.resolve("l"));
    String other =
        fixture.descriptor(
            "{}".getBytes(StandardCharsets.UTF_8),
            ",\"platform\":{\"architecture\":\"arm64\",\"os\":\"linux\"}");
    fixture.layer(new Layer().file("f", "1")).write();
    String ours = Files.readString(folder.resolve("l/index.json"));
    String inner = ours.replace("\"manifests\":[", "\"manifests\":[" + other + ",");
    String nested = fixture.descriptor(inner.getBytes(StandardCharsets.UTF_8), "");
    assertThat(mergeLayout(fixture.index(List.of(nested)))).containsEntry("f", "1");
    assertThatThrownBy(() -> mergeLayout(fixture.index(List.of(other))))
        .hasMessageContaining("0 images for linux/amd64");
  }

  @Test
  void anImageLargerThanItsDiskIsRefusedBeforeItIsUnpacked() throws Exception {
    String mebibyte = "x".repeat(1 << 20);
    Layer layer = new Layer();
    for (int i = 0; i < 3; i++) {
      layer.file("f" + i, mebibyte);
    }
    Path layout = new OciFixture(folder.resolve("l")).layer(layer.tar(), true).write();
    OciLayout opened = OciLayout.open(layout, folder);
    assertThatThrownBy(() -> opened.merge(opened.image(), 2, folder.resolve("m.tar")))
        .hasMessageContaining("3 MiB")
        .hasMessageContaining("larger disk");
    Layer bomb = new Layer();
    for (int i = 0; i < 9; i++) {
      bomb.file("same", mebibyte);
    }
    Path bombLayout = new OciFixture(folder.resolve("b")).layer(bomb.tar(), true).write();
    OciLayout openedBomb = OciLayout.open(bombLayout, folder);
    assertThatThrownBy(() -> openedBomb.merge(openedBomb.image(), 1, folder.resolve("n.tar")))
        .hasMessageContaining("unpacks to more than 8 MiB");
  }

  private void assertRefused(Layer layer, String why) {
    assertThatThrownBy(() -> merge(layer))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT))
        .hasMessageContaining(why);
  }

  private Map<String, String> merge(Layer... layers) throws IOException {
    OciFixture fixture =
        new OciFixture(Files.createTempDirectory(folder, "image").resolve("layout"));
    for (Layer layer : layers) {
      fixture.layer(layer);
    }
    return mergeLayout(fixture.write());
  }

  /** Name to content, target or mode. */
  private Map<String, String> mergeLayout(Path layout) throws IOException {
    Path work = Files.createTempDirectory(folder, "work");
    Path merged = folder.resolve("merged.tar");
    OciLayout opened = OciLayout.open(layout, work);
    opened.merge(opened.image(), DISK_MIB, merged);
    Map<String, String> tree = new TreeMap<>();
    try (TarArchiveInputStream in = new TarArchiveInputStream(Files.newInputStream(merged))) {
      for (TarArchiveEntry e = in.getNextEntry(); e != null; e = in.getNextEntry()) {
        String text;
        if (e.isDirectory()) {
          text = "folder " + Integer.toOctalString(e.getMode());
        } else if (e.isSymbolicLink()) {
          text = "-> " + e.getLinkName();
        } else if (e.isLink()) {
          text = tree.get(e.getLinkName());
        } else {
          text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
        tree.put(e.getName(), text);
      }
    }
    return tree;
  }

  private TarArchiveEntry entry(String name) throws IOException {
    try (TarArchiveInputStream in =
        new TarArchiveInputStream(Files.newInputStream(folder.resolve("merged.tar")))) {
      for (TarArchiveEntry e = in.getNextEntry(); e != null; e = in.getNextEntry()) {
        if (e.getName().equals(name)) {
          return e;
        }
      }
    }
    throw new AssertionError("no entry " + name);
  }

  private static String read(Path file) throws IOException {
    // Blobs here are tar archives of ASCII text and zeros, which survive as text.
    return Files.readString(file, StandardCharsets.UTF_8);
  }
}
