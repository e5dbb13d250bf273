package dev.forkd.api.rest;

import java.util.Optional;

/** What became of one child of a fork with {@code partial}: a sandbox, or an error with a code. */
public record ChildResult(
    Optional<SandboxInfo> sandbox, Optional<String> error, Optional<String> code) {
  public static ChildResult started(SandboxInfo sandbox) {
    return new ChildResult(Optional.of(sandbox), Optional.empty(), Optional.empty());
  }

  public static ChildResult failed(String code, String error) {
    return new ChildResult(Optional.empty(), Optional.of(error), Optional.of(code));
  }
}
