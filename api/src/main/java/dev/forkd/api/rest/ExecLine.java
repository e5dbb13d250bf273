package dev.forkd.api.rest;

import java.util.Optional;
import java.util.OptionalInt;

/**
 * A line of the answer of {@code POST /v1/sandboxes/{id}/exec/stream}: first the session, then
 * output in base64 and signs of life, last the exit code or an error.
 */
public record ExecLine(
    Optional<String> session,
    Optional<String> stdout,
    Optional<String> stderr,
    Optional<Boolean> alive,
    OptionalInt exitCode,
    OptionalInt signal,
    Optional<Boolean> timedOut,
    OptionalInt guestPid,
    Optional<String> error,
    Optional<String> code) {
  private static final ExecLine EMPTY =
      new ExecLine(
          Optional.empty(),
          Optional.empty(),
          Optional.empty(),
          Optional.empty(),
          OptionalInt.empty(),
          OptionalInt.empty(),
          Optional.empty(),
          OptionalInt.empty(),
          Optional.empty(),
          Optional.empty());

  public static ExecLine session(String id) {
    return EMPTY.with(Optional.of(id), Optional.empty(), Optional.empty(), Optional.empty());
  }

  public static ExecLine stdout(String base64) {
    return EMPTY.with(Optional.empty(), Optional.of(base64), Optional.empty(), Optional.empty());
  }

  public static ExecLine stderr(String base64) {
    return EMPTY.with(Optional.empty(), Optional.empty(), Optional.of(base64), Optional.empty());
  }

  /** Says only that the command still runs; shows the daemon whether the client does. */
  public static ExecLine sign() {
    return EMPTY.with(Optional.empty(), Optional.empty(), Optional.empty(), Optional.of(true));
  }

  public static ExecLine ended(
      int exitCode, OptionalInt signal, boolean timedOut, OptionalInt guestPid) {
    return new ExecLine(
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        OptionalInt.of(exitCode),
        signal,
        timedOut ? Optional.of(true) : Optional.empty(),
        guestPid,
        Optional.empty(),
        Optional.empty());
  }

  public static ExecLine failed(String code, String error) {
    return new ExecLine(
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        Optional.empty(),
        OptionalInt.empty(),
        OptionalInt.empty(),
        Optional.empty(),
        OptionalInt.empty(),
        Optional.of(error),
        Optional.of(code));
  }

  private ExecLine with(
      Optional<String> newSession,
      Optional<String> newStdout,
      Optional<String> newStderr,
      Optional<Boolean> newAlive) {
    return new ExecLine(
        newSession,
        newStdout,
        newStderr,
        newAlive,
        exitCode,
        signal,
        timedOut,
        guestPid,
        error,
        code);
  }
}
