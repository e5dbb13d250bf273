package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.net.httpserver.HttpServer;
import dev.forkd.linux.CgroupSupport;
import dev.forkd.linux.Userfaultfd;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Shows that doctor tells good hosts from bad ones and always says how to mend the bad. */
class DoctorTest {
  @TempDir Path folder;

  @Test
  void everythingThatIsWrongComesWithAWayToMendIt() throws Exception {
    Files.createDirectories(folder.resolve("proc/sys/kernel/yama"));
    Files.writeString(folder.resolve("proc/sys/kernel/yama/ptrace_scope"), "1\n");
    DataDir dataDir = new DataDir(folder.resolve("data"));
    HostChecks host = new HostChecks(folder, dataDir, Map.of("PATH", folder.toString()));
    List<Check> checks =
        List.of(
            host.platform("Darwin", "aarch64"),
            host.jdk(Runtime.Version.parse("21.0.2")),
            HostChecks.cgroups(new CgroupSupport.None("no group can be made below /x")),
            host.guest().getFirst(),
            host.guest().getLast(),
            host.softDirty(),
            host.tracing(false),
            host.sharedMemory(),
            host.networkTools(),
            HostChecks.space(1L << 20, folder),
            HostChecks.space(2L << 30, folder),
            HostChecks.userfaultfd(Userfaultfd.Support.NONE));
    assertThat(checks)
        .allSatisfy(check -> {
          assertThat(check.status()).isIn(Check.Status.WARN, Check.Status.FAIL);
          assertThat(check.mend()).isNotBlank();
          assertThat(check.meaning()).isNotBlank();
        });
    assertThat(DoctorCommand.exitStatus(checks)).isEqualTo(1);
  }

  @Test
  void aWarningAloneIsNoFailure() {
    assertThat(DoctorCommand.exitStatus(List.of(Check.warn("a", "b", "c", "d")))).isZero();
  }

  @Test
  void findsWhatIsThere() throws Exception {
    Files.createDirectories(folder.resolve("proc/self"));
    Files.writeString(folder.resolve("proc/self/smaps"), "VmFlags: rd wr mr mw me ac sd\n");
    Files.writeString(folder.resolve("proc/meminfo"), "MemAvailable:   8388608 kB\n");
    script(folder.resolve("sbin/nft"), "");
    script(folder.resolve("bin/ip"), "");
    Files.createDirectories(folder.resolve("data/guest/kernels"));
    Files.writeString(folder.resolve("data/guest/kernels/6.1.0-1-cloud-amd64"), "");
    Files.createDirectories(folder.resolve("data/snapshots/python"));
    HostChecks host = new HostChecks(folder, new DataDir(folder.resolve("data")), path("bin"));
    assertThat(
            List.of(
                host.softDirty(),
                host.tracing(false),
                host.networkTools(),
                HostChecks.space(6L << 30, folder),
                HostChecks.cgroups(new CgroupSupport.V2(folder, folder, true)),
                host.sharedMemory(),
                host.guest().getFirst(),
                host.guest().getLast()))
        .allSatisfy(check -> assertThat(check.status()).isEqualTo(Check.Status.PASS));
  }

  /** A QEMU that is too old is not mended by installing what is there. */
  @Test
  void whatQemuLacksIsSaid() throws Exception {
    DataDir dataDir = new DataDir(folder.resolve("data"));
    Path old = script(folder.resolve("old/qemu"), "echo QEMU emulator version 6.2.0\n");
    Path strange = script(folder.resolve("old/strange"), "echo hello\n");
    for (Path binary : List.of(old, strange)) {
      Check found = qemu(dataDir, binary.toString()).getFirst();
      assertThat(found.status()).isEqualTo(Check.Status.FAIL);
      assertThat(found.detail()).contains(binary.toString());
      assertThat(found.mend()).contains("7.2 or newer", "backports", "FORKD_QEMU");
    }
    List<Check> missing = qemu(dataDir, folder.resolve("none").toString());
    assertThat(missing.getFirst().status()).isEqualTo(Check.Status.FAIL);
    assertThat(missing.getFirst().mend()).contains("FORKD_QEMU must name");
    assertThat(missing.getLast().status()).isEqualTo(Check.Status.SKIP);
  }

  /** It is the one of FORKD_QEMU that counts, as a binary or as a folder of unpacked packages. */
  @Test
  void theNamedQemuIsTried() throws Exception {
    DataDir dataDir = new DataDir(folder.resolve("data"));
    Path binary =
        script(
            folder.resolve("unpacked/usr/bin/qemu-system-x86_64"),
            "echo QEMU emulator version 9.1.3\n");
    for (Path named : List.of(binary, folder.resolve("unpacked"))) {
      List<Check> found = qemu(dataDir, named.toString());
      assertThat(found.getFirst().status()).isEqualTo(Check.Status.PASS);
      assertThat(found.getFirst().detail()).contains("9.1.3", binary.toString());
      assertThat(found.getLast().status()).as("it runs no guest").isEqualTo(Check.Status.WARN);
      assertThat(found.getLast().detail()).startsWith("emulation: ");
      assertThat(found.getLast().mend()).isNotBlank();
    }
  }

  private List<Check> qemu(DataDir dataDir, String named) {
    return new HostChecks(folder, dataDir, Map.of("FORKD_QEMU", named)).vmm();
  }

  /** By trying, in the folder that the data directory is or will be made in. */
  @Test
  void foldersAreTriedAndLeftAsTheyWere() throws Exception {
    DataDir dataDir = new DataDir(folder.resolve("data/deep"));
    HostChecks host = new HostChecks(folder, dataDir, Map.of());
    Check reflink = host.reflink();
    assertThat(reflink.status()).isIn(Check.Status.PASS, Check.Status.WARN);
    assertThat(reflink.detail()).contains(folder.toString());
    assertThat(host.space().detail()).endsWith(" free in " + folder);
    assertThat(folder.toFile().list()).isEmpty();
    Check nowhere =
        new HostChecks(folder, new DataDir(Path.of("/proc/self/forkd")), Map.of()).reflink();
    assertThat(nowhere.status()).isEqualTo(Check.Status.FAIL);
    assertThat(nowhere.mend()).contains("FORKD_DATA_DIR");
  }

  /** The options of other commands; what they name is what is looked at. */
  @Test
  void theDataDirAndTheDaemonCanBeNamed() {
    FakeDaemon.Outcome outcome =
        FakeDaemon.execute(
            "doctor",
            "--data-dir",
            folder.toString(),
            "--daemon-url",
            "http://127.0.0.1:1",
            "--daemon-token",
            "secret");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.out())
        .contains("free in " + folder)
        .contains("✗ daemon        http://127.0.0.1:1 ")
        .contains("✓ token         given (FORKD_TOKEN)");
  }

  private Map<String, String> path(String name) {
    return Map.of("PATH", folder.resolve(name).toString());
  }

  private static Path script(Path file, String text) throws Exception {
    Files.createDirectories(file.getParent());
    Files.writeString(file, "#!/bin/sh\n" + text);
    assertThat(file.toFile().setExecutable(true)).isTrue();
    return file;
  }

  @Test
  void eachCheckIsShownWithMeaningAndMend() {
    assertThat(DoctorCommand.render(List.of(Check.fail("space", "none", "room", "free some"))))
        .contains("✗ space")
        .contains("room")
        .contains("→ free some")
        .endsWith("pass=0 warn=0 fail=1 skip=0\n");
  }

  @Test
  void aDaemonThatRefusesOurTokenFails() throws Exception {
    HttpServer server =
        HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext(
        "/",
        exchange -> {
          boolean open = exchange.getRequestURI().getPath().equals("/healthz");
          byte[] body = "{\"ok\":true}".getBytes(StandardCharsets.UTF_8);
          exchange.sendResponseHeaders(open ? 200 : 401, open ? body.length : -1);
          if (open) {
            exchange.getResponseBody().write(body);
          }
          exchange.close();
        });
    server.start();
    try {
      String url = "http://127.0.0.1:" + server.getAddress().getPort();
      Map<String, String> environment = Map.of("FORKD_URL", url, "FORKD_TOKEN", "wrong");
      List<Check> checks = new DaemonChecks(new DataDir(folder), environment).all();
      assertThat(checks.getFirst().status()).isEqualTo(Check.Status.PASS);
      assertThat(checks.getLast().status()).isEqualTo(Check.Status.FAIL);
      assertThat(checks.getLast().detail()).contains("401");
    } finally {
      server.stop(0);
    }
  }

  @Test
  void aDaemonThatIsGoneFailsOnlyWhenItWasNamed() {
    assertThat(
            new DaemonChecks(new DataDir(folder), Map.of("FORKD_URL", "http://127.0.0.1:1"))
                .all()
                .getFirst()
                .status())
        .isEqualTo(Check.Status.FAIL);
    assertThat(new DaemonChecks(new DataDir(folder), Map.of()).all().getFirst().status())
        .isEqualTo(Check.Status.PASS);
  }

  @Test
  void aTokenOthersCanReadFails() throws Exception {
    Files.writeString(folder.resolve("token"), "0123456789abcdef");
    Files.setPosixFilePermissions(
        folder.resolve("token"), PosixFilePermissions.fromString("rw-r--r--"));
    Check token = new DaemonChecks(new DataDir(folder), Map.of()).all().getLast();
    assertThat(token.status()).isEqualTo(Check.Status.FAIL);
    assertThat(token.mend()).contains("chmod 600");
  }
}
