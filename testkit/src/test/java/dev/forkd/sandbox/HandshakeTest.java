package dev.forkd.sandbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.Certificate;
import dev.forkd.engine.SandboxView;
import dev.forkd.state.SandboxRow;
import dev.forkd.state.SandboxState;
import dev.forkd.testkit.FakeGuest;
import dev.forkd.testkit.Workbench;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A child that does not prove that it is itself is ended, and never served. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class HandshakeTest {
  @TempDir Path root;

  private Workbench bench;

  @BeforeEach
  void open() throws IOException {
    bench = new Workbench(root).withBase();
  }

  @AfterEach
  void close() {
    bench.close();
  }

  /** A guest whose proof is right but for one member. */
  private void lie(Sandbox sandbox, String member, Object value) {
    FakeGuest guest = bench.guest(sandbox);
    guest.on(
        "epoch",
        request -> {
          Map<String, Object> proof = new HashMap<>(guest.proof(request));
          proof.put(member, value);
          return Optional.of(proof);
        });
  }

  private void assertEnded(Sandbox sandbox, ErrorCode code, String why) {
    assertThatThrownBy(sandbox::enter)
        .isInstanceOfSatisfying(
            ForkdException.class,
            e -> {
              assertThat(e.code()).isEqualTo(code);
              assertThat(e.message()).contains(why);
            });
    assertThat(sandbox.vm().exit()).succeedsWithin(Duration.ofSeconds(60));
    SandboxView view = sandbox.view(true);
    assertThat(view.state()).isEqualTo("failed");
    assertThat(view.failure().orElseThrow()).contains("fork handshake", why);
    assertThat(view.certificate().state()).isEqualTo(Certificate.State.FAILED);
    assertThat(view.certificate().failure().orElseThrow()).contains(why);
    assertThat(bench.store.findSandbox(sandbox.id().value()).map(SandboxRow::state))
        .contains(SandboxState.FAILED);
    assertThatThrownBy(sandbox::enter)
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.UNAVAILABLE));
    assertThat(bench.guest(sandbox).asked()).as("what it was asked").doesNotContain("thaw", "eval");
  }

  /** One that answers as it should is served, and says how well its clock is known. */
  @Test
  void aGoodChildIsServed() throws IOException {
    Sandbox sandbox = bench.sandbox();
    sandbox.enter().close();
    Certificate certificate = sandbox.record().certificate();
    assertThat(certificate.state()).isEqualTo(Certificate.State.VERIFIED);
    assertThat(certificate.clockErrorMaxMillis().orElseThrow()).isBetween(0L, 50L);
    assertThat(bench.guest(sandbox).frozen()).isFalse();
  }

  /** Each thing that a child has to prove. */
  @ParameterizedTest
  @CsvSource({
    "epoch, 7, its epoch is '7'",
    "hostname, another, its hostname is 'another'",
    "machineId, 00, its machine-id is '00'",
    "random, aabb, its random sample is short",
    "reseeded, false, was not reseeded"
  })
  void aWrongProof(String member, String value, String why) throws IOException {
    Sandbox sandbox = bench.sandbox();
    Object wrong =
        switch (member) {
          case "epoch" -> Long.valueOf(value);
          case "reseeded" -> Boolean.valueOf(value);
          default -> value;
        };
    lie(sandbox, member, wrong);
    assertEnded(sandbox, ErrorCode.ABORTED, why);
  }

  /** Two children with the same random bytes are twins: the second is ended, the first goes on. */
  @ParameterizedTest
  @CsvSource({
    "random, its random sample is short or was seen before",
    "interpreter, its interpreter's random sample was seen before"
  })
  void twins(String member, String why) throws IOException {
    Sandbox first = bench.sandbox();
    Sandbox second = bench.sandbox();
    String sample = "5a".repeat(32);
    lie(first, member, sample);
    lie(second, member, sample);
    first.enter().close();
    assertEnded(second, ErrorCode.ABORTED, why);
    first.enter().close();
    // Once the first is gone nobody has these bytes any more.
    bench.sandboxes.kill(first.id());
    Sandbox third = bench.sandbox();
    lie(third, member, sample);
    third.enter().close();
  }

  private void useImpatient() throws IOException {
    bench.close();
    bench = Workbench.impatient(root.resolve("i")).withBase();
  }

  /** A guest that answers nothing is given up in time. */
  @Test
  void silence() throws IOException {
    useImpatient();
    Sandbox sandbox = bench.sandbox();
    bench.guest(sandbox).deaf();
    assertEnded(sandbox, ErrorCode.DEADLINE_EXCEEDED, "did not answer");
  }

  /** So is one that begins the conversation and leaves the question open. */
  @Test
  void silenceAfterTheGreeting() throws IOException {
    useImpatient();
    Sandbox sandbox = bench.sandbox();
    bench.guest(sandbox).on("epoch", _ -> Optional.empty());
    assertEnded(sandbox, ErrorCode.DEADLINE_EXCEEDED, "did not answer 'epoch'");
  }
}
