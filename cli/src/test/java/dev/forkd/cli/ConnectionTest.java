package dev.forkd.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Shows who is sent the token of the data directory: nobody but this host. */
class ConnectionTest {
  @TempDir Path folder;

  @BeforeEach
  void token() throws Exception {
    Files.writeString(folder.resolve("token"), "secret\n");
  }

  private FakeDaemon.Outcome list(String url) {
    return FakeDaemon.execute("ls", "--daemon-url", url, "--data-dir", folder.toString());
  }

  /** What looks like this host and is not, is not; a name may mean anything. */
  @Test
  void onlyLoopbackIsThisHost() {
    assertThat(
            List.of(
                "http://127.0.0.1:8889",
                "https://LOCALHOST:1/",
                " http://127.9.9.9",
                "http://[::1]:8889"))
        .allMatch(Connection::isThisHost);
    assertThat(
            List.of(
                "http://192.0.2.1:8889",
                "http://127.0.0.1@192.0.2.1",
                "http://localhost.example.org",
                "http://127.0.0.1.example.org:8889",
                "http://[2001:db8::1]:1",
                "http://0.0.0.0:1",
                "localhost:8889",
                "not an address",
                ""))
        .noneMatch(Connection::isThisHost);
  }

  @Test
  void aNamedDaemonOfThisHostIsSentIt() throws Exception {
    try (FakeDaemon daemon = new FakeDaemon().answers("GET /v1/sandboxes", 200, "[]")) {
      FakeDaemon.Outcome outcome = list(daemon.url());
      assertThat(outcome.status()).as(outcome.err()).isZero();
    }
  }

  /** The command ends before anything is sent, and says what to give. */
  @Test
  void anotherHostIsNot() {
    FakeDaemon.Outcome outcome = list("http://forkd.invalid:1");
    assertThat(outcome.status()).isEqualTo(1);
    assertThat(outcome.err()).contains("FORKD_TOKEN", "http://forkd.invalid:1");
  }

  @Test
  void theDoctorAsksForTheTokenOfAnotherHost() {
    List<Check> checks =
        new DaemonChecks(new DataDir(folder), Map.of("FORKD_URL", "http://forkd.invalid:1")).all();
    assertThat(checks.getLast().status()).isEqualTo(Check.Status.FAIL);
    assertThat(checks.getLast().mend()).contains("FORKD_TOKEN");
  }
}
