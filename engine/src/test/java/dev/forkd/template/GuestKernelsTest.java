package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import dev.forkd.process.Programs;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** How kernels are recognised and found again once unpacked; and how a newer one comes. */
class GuestKernelsTest {
  @TempDir Path folder;

  @Test
  void aKernelByPathIsReadForItsReleaseAndItsModulesAreFoundBesideIt() throws Exception {
    Path image = kernel(folder.resolve("boot/vmlinuz-any"), "6.1.0-99-cloud-amd64 (x@y) #1");
    GuestKernels kernels = new GuestKernels(folder.resolve("kernels"));
    assertThat(kernels.at(image).release()).isEqualTo("6.1.0-99-cloud-amd64");
    assertThat(kernels.at(image).modules()).isEmpty();
    Path modules = folder.resolve("lib/modules/6.1.0-99-cloud-amd64");
    Files.createDirectories(modules.resolve("kernel"));
    assertThat(kernels.at(image).modules()).contains(modules);
    assertThat(kernels.at(image).sha256()).isEqualTo(AssetFiles.sha256(image));
  }

  @Test
  void whatIsNoKernelIsRefused() throws Exception {
    GuestKernels kernels = new GuestKernels(folder.resolve("kernels"));
    Path text = Files.write(folder.resolve("text"), new byte[100_000]);
    Path stub = Files.write(folder.resolve("stub"), new byte[10]);
    for (Path wrong : java.util.List.of(text, stub)) {
      assertThatThrownBy(() -> kernels.at(wrong))
          .isInstanceOfSatisfying(
              ForkdException.class,
              e -> assertThat(e.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT));
    }
    assertThatThrownBy(() -> kernels.at(folder.resolve("nothing")))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.NOT_FOUND));
  }

  @Test
  void theNewestUnpackedKernelIsUsedAndUnfinishedOnesAreNot() throws Exception {
    Path kept = folder.resolve("kernels");
    GuestKernels kernels = new GuestKernels(kept);
    assertThat(kernels.unpacked()).isEmpty();
    unpacked(kept.resolve("linux-image-1_1"), "6.1.0-1-cloud-amd64", 1_000);
    unpacked(kept.resolve("linux-image-2_1"), "6.1.0-2-cloud-amd64", 2_000);
    unpacked(kept.resolve(".linux-image-3.tmp"), "6.1.0-3-cloud-amd64", 3_000);
    assertThat(kernels.debian(_ -> {}).release()).isEqualTo("6.1.0-2-cloud-amd64");
    assertThat(kernels.debian(_ -> {}).modules()).isPresent();
  }

  /** A daemon that is killed while it removes or fetches one leaves nothing that is used later. */
  @Test
  void whatWasCutShortIsNoKernelAndGoesWithTheNextStart() throws Exception {
    Path kept = folder.resolve("kernels");
    GuestKernels kernels = new GuestKernels(kept);
    unpacked(kept.resolve("linux-image-1_1"), "6.1.0-1-cloud-amd64", 1_000);
    unpacked(kept.resolve("linux-image-2_1"), "6.1.0-2-cloud-amd64", 2_000);
    // Newer than both: its folder has just been written to.
    Path half = kept.resolve("linux-image-0_1");
    Files.createDirectories(half.resolve("lib/modules/6.1.0-0-cloud-amd64"));
    Path fetched = kept.resolve(".linux-image-3.tmp");
    unpacked(fetched.resolve("tree"), "6.1.0-3-cloud-amd64", 3_000);
    assertThat(kernels.debian(_ -> {}).release()).isEqualTo("6.1.0-2-cloud-amd64");
    kernels.forgetOld();
    assertThat(kept.toFile().list()).containsExactly("linux-image-2_1");
    assertThat(kernels.debian(_ -> {}).release()).isEqualTo("6.1.0-2-cloud-amd64");
  }

  /** One that goes loses its name before its files. */
  @Test
  void anOldOneIsNoKernelFromTheBeginningOfItsRemoval() throws Exception {
    Path kept = folder.resolve("kernels");
    GuestKernels kernels = new GuestKernels(kept);
    Path old = kept.resolve("linux-image-1_1");
    unpacked(old, "6.1.0-1-cloud-amd64", 1_000);
    unpacked(kept.resolve("linux-image-2_1"), "6.1.0-2-cloud-amd64", 2_000);
    // Deeper than a path may be long: the removal fails, also for root.
    Path below = deep(old.resolve("lib/modules/6.1.0-1-cloud-amd64"));
    Path other = folder.resolve("other");
    deep(other);
    Files.move(other, below.resolve("other"));
    try {
      assertThatThrownBy(kernels::forgetOld).isInstanceOf(ForkdException.class);
      assertThat(old).doesNotExist();
      assertThat(kernels.debian(_ -> {}).release()).isEqualTo("6.1.0-2-cloud-amd64");
    } finally {
      ProcessRunner.check(Command.of("rm", "-rf", kept.toString()));
    }
  }

  /** The deepest of many folders. */
  private static Path deep(Path top) throws IOException {
    Path below = top;
    for (int i = 0; i < 12; i++) {
      below = below.resolve("d".repeat(250));
    }
    return Files.createDirectories(below);
  }

  /** A real apt, and a repository in a folder. */
  @Test
  void aNewerKernelIsFetchedWhenAskedForAndTheOldOneGoesAfterAWhile() throws Exception {
    Assumptions.assumeTrue(
        Programs.find("apt-get").isPresent() && Programs.find("dpkg-deb").isPresent(),
        "no apt on this host");
    Path kept = folder.resolve("kernels");
    Path repository = Files.createDirectory(folder.resolve("repository"));
    Path sources = folder.resolve("sources");
    Files.writeString(sources, "deb [trusted=yes] file:" + repository + " ./\n");
    GuestKernels kernels =
        new GuestKernels(
            kept,
            List.of(
                "-oDir::Etc::SourceList=" + sources,
                "-oDir::Etc::SourceParts=/nonexistent",
                "-oAPT::Sandbox::User=root"));
    unpacked(kept.resolve("linux-image-old_1_amd64"), "6.1.0-1-cloud-amd64", 1_000);
    List<String> progress = new ArrayList<>();

    // Nobody answers.
    kernels.refresh(progress::add);
    assertThat(kernels.debian(progress::add).release()).isEqualTo("6.1.0-1-cloud-amd64");
    assertThat(progress).anyMatch(line -> line.contains("no newer kernel could be fetched"));
    assertThat(folder.resolve("apt")).doesNotExist();

    publish(repository, "6.1.0-2-cloud-amd64");
    assertThat(kernels.debian(progress::add).release())
        .as("not looked for unless asked")
        .isEqualTo("6.1.0-1-cloud-amd64");
    kernels.refresh(progress::add);
    assertThat(kernels.debian(progress::add).release()).isEqualTo("6.1.0-2-cloud-amd64");
    progress.clear();
    kernels.refresh(progress::add);
    assertThat(kernels.debian(progress::add).release()).isEqualTo("6.1.0-2-cloud-amd64");
    assertThat(progress).noneMatch(line -> line.startsWith("fetch"));

    kernels.forgetOld();
    assertThat(kept.resolve("linux-image-old_1_amd64")).as("just superseded").exists();
    for (String name : kept.toFile().list()) {
      if (!name.contains("old")) {
        Files.setLastModifiedTime(
            kept.resolve(name), FileTime.from(Instant.now().minus(Duration.ofDays(8))));
      }
    }
    kernels.forgetOld();
    assertThat(kept.resolve("linux-image-old_1_amd64")).doesNotExist();
    assertThat(kernels.unpacked()).as("the newest stays, however old").isPresent();
  }

  private void publish(Path repository, String release) throws IOException {
    String name = "linux-image-" + release;
    kernel(folder.resolve(name + "/boot/vmlinuz-" + release), release + " ");
    StringBuilder index = new StringBuilder();
    index.append(packed(repository, name, "1", ""));
    index.append(packed(repository, GuestKernels.PACKAGE, release, "Depends: " + name + "\n"));
    Files.writeString(repository.resolve("Packages"), index);
  }

  private String packed(Path repository, String name, String version, String more)
      throws IOException {
    Path tree = folder.resolve(name);
    Files.createDirectories(tree.resolve("DEBIAN"));
    String control =
        "Package: "
            + name
            + "\nVersion: "
            + version
            + "\nArchitecture: amd64\nMaintainer: nobody <n@example.org>\n"
            + more
            + "Description: a test\n";
    Files.writeString(tree.resolve("DEBIAN/control"), control);
    Path file = repository.resolve(name + ".deb");
    ProcessRunner.check(
        Command.of("dpkg-deb", "--root-owner-group", "-b", tree.toString(), file.toString()));
    return control
        + "Filename: ./"
        + file.getFileName()
        + "\nSize: "
        + Files.size(file)
        + "\nSHA256: "
        + AssetFiles.sha256(file)
        + "\n\n";
  }

  private static void unpacked(Path tree, String release, long seconds) throws IOException {
    kernel(tree.resolve("boot/vmlinuz-" + release), release + " ");
    Files.createDirectories(tree.resolve("lib/modules").resolve(release));
    Files.setLastModifiedTime(tree, FileTime.fromMillis(seconds * 1000));
  }

  private static Path kernel(Path image, String version) throws IOException {
    byte[] content = new byte[0x800];
    byte[] mark = "HdrS".getBytes(StandardCharsets.US_ASCII);
    System.arraycopy(mark, 0, content, 0x202, mark.length);
    content[0x20e] = 0x00;
    content[0x20f] = 0x04;
    byte[] text = version.getBytes(StandardCharsets.US_ASCII);
    System.arraycopy(text, 0, content, 0x600, text.length);
    Files.createDirectories(image.getParent());
    return Files.write(image, content);
  }
}
