package dev.forkd.cli;

import dev.forkd.api.rest.BranchRequest;
import dev.forkd.api.rest.CreateSandboxes;
import dev.forkd.api.rest.ExecRequest;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/** The plain form of requests that commands make by themselves. */
final class Requests {
  private static final long EXEC_TIMEOUT_SECS = 60;

  private Requests() {}

  static CreateSandboxes fork(String tag, int count) {
    return new CreateSandboxes(
        tag,
        OptionalLong.of(count),
        false,
        OptionalLong.empty(),
        false,
        false,
        false,
        Optional.empty());
  }

  static ExecRequest exec(String... words) {
    return new ExecRequest(
        List.of(words),
        OptionalLong.of(EXEC_TIMEOUT_SECS),
        Map.of(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        false,
        false);
  }

  static BranchRequest diffBranch(Optional<String> tag) {
    return new BranchRequest(
        tag, false, true, false, Optional.empty(), Optional.empty(), Optional.empty());
  }

  /** Keeps what a command of ours prints; it prints little. */
  static final class Collected implements Api.ExecOutput {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();

    @Override
    public void stdout(byte[] bytes) {
      out.writeBytes(bytes);
    }

    @Override
    public void stderr(byte[] bytes) {
      err.writeBytes(bytes);
    }

    String out() {
      return out.toString(StandardCharsets.UTF_8);
    }

    String err() {
      return err.toString(StandardCharsets.UTF_8);
    }
  }
}
