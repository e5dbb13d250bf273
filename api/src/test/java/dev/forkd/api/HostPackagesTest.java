package dev.forkd.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Which packages are found missing, how they would be installed, and that nobody is overruled. */
class HostPackagesTest {
  private static final Set<String> EMPTY_HOST = Set.of("apt-get", "sudo");

  @Test
  void onlyWhatIsNotThereIsMissing() {
    HostPackages host =
        new HostPackages(
            true, file -> !file.equals("qemu-img") && !file.equals("/usr/include/jansson.h"));
    assertThat(host.missing())
        .extracting(HostPackage::name)
        .containsExactly("qemu-utils", "libjansson-dev");
  }

  @Test
  void anyOfSeveralPlacesWillDo() {
    HostPackages host =
        new HostPackages(
            true, file -> file.equals("/usr/lib64/libc.a") || !file.contains("libc.a"));
    assertThat(host.missing()).isEmpty();
  }

  /** Programs are found by PATH and in the system's folders; FORKD_QEMU makes QEMU's needless. */
  @Test
  void programsAreLookedForWhereTheEnvironmentSays(@TempDir Path folder) throws Exception {
    Path tool = Files.createFile(folder.resolve("mke2fs"));
    Files.createFile(folder.resolve("xz"));
    assertThat(tool.toFile().setExecutable(true)).isTrue();
    List<String> none = List.of();
    List<String> ours = List.of(folder.toString());
    assertThat(HostPackages.isPresent("mke2fs", Map.of(), none)).isFalse();
    assertThat(HostPackages.isPresent("mke2fs", Map.of(), ours)).isTrue();
    assertThat(HostPackages.isPresent("mke2fs", Map.of("PATH", "x:" + folder), none)).isTrue();
    assertThat(HostPackages.isPresent("xz", Map.of(), ours)).as("not executable").isFalse();
    assertThat(HostPackages.isPresent(tool.toString(), Map.of(), none)).isTrue();
    String qemu = "qemu-system-x86_64";
    assertThat(HostPackages.isPresent(qemu, Map.of("FORKD_QEMU", " "), none)).isFalse();
    assertThat(HostPackages.isPresent(qemu, Map.of("FORKD_QEMU", "/opt/qemu"), none)).isTrue();
    assertThat(HostPackages.isPresent("gcc", Map.of("FORKD_QEMU", "/opt/qemu"), none)).isFalse();
  }

  @Test
  void withoutRootMoreIsNeededAndSudoIsUsed() {
    HostPackages host = new HostPackages(false, EMPTY_HOST::contains);
    assertThat(host.missing()).containsAll(HostPackages.WITHOUT_ROOT);
    assertThat(host.installCommands(host.missing()))
        .allSatisfy(command -> assertThat(command).startsWith("sudo"))
        .last()
        .satisfies(command -> assertThat(command).contains("fakeroot", "qemu-system-x86"));
    assertThat(new HostPackages(true, EMPTY_HOST::contains).installCommandLine(HostPackages.COMMON))
        .startsWith("apt-get update && env DEBIAN_FRONTEND=noninteractive apt-get install --yes")
        .doesNotContain("sudo");
  }

  @Test
  void aNoInstallsNothing() {
    HostPackages host = new HostPackages(true, EMPTY_HOST::contains);
    List<String> asked = new ArrayList<>();
    assertThatThrownBy(() ->
            host.install(
                host.missing(),
                line -> {
                  asked.add(line);
                  return false;
                },
                line -> {
                  throw new AssertionError("something ran: " + line);
                }))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("nothing was installed")
        .hasMessageContaining("mmdebstrap");
    assertThat(asked).hasSize(1);
  }

  @Test
  void aHostWithoutAptIsToldWhatToInstall() {
    HostPackages host = new HostPackages(false, "sudo"::equals);
    assertThatThrownBy(() -> host.install(host.missing(), _ -> true, _ -> {}))
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> assertThat(e.code()).isEqualTo(ErrorCode.FAILED_PRECONDITION))
        .hasMessageContaining("no apt-get")
        .hasMessageContaining("qemu-system-x86");
  }

  @Test
  void nothingMissingAsksNothing() {
    HostPackages host = new HostPackages(true, _ -> true);
    host.install(
        host.missing(),
        _ -> {
          throw new AssertionError("was asked");
        },
        _ -> {});
    assertThat(host.missing()).isEmpty();
  }
}
