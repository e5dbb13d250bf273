package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** How kernels are recognised and found again once unpacked; fetching one is a system test. */
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
