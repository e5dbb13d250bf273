package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.net.httpserver.HttpServer;
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
            host.cgroups(),
            host.guest().getFirst(),
            host.guest().getLast(),
            host.softDirty(),
            host.tracing(false),
            host.sharedMemory(),
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
    Files.createDirectories(folder.resolve("sys/fs/cgroup"));
    Files.writeString(folder.resolve("sys/fs/cgroup/cgroup.controllers"), "cpu memory\n");
    Files.createDirectories(folder.resolve("data/guest/kernels"));
    Files.writeString(folder.resolve("data/guest/kernels/6.1.0-1-cloud-amd64"), "");
    Files.createDirectories(folder.resolve("data/snapshots/python"));
    HostChecks host = new HostChecks(folder, new DataDir(folder.resolve("data")), Map.of());
    assertThat(
            List.of(
                host.softDirty(),
                host.tracing(false),
                host.cgroups(),
                host.sharedMemory(),
                host.guest().getFirst(),
                host.guest().getLast()))
        .allSatisfy(check -> assertThat(check.status()).isEqualTo(Check.Status.PASS));
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
