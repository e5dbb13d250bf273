package dev.forkd.api.rest;

import java.util.Optional;
import java.util.OptionalInt;

/**
 * Answer of {@code POST /v1/sandboxes/{id}/exec}.
 *
 * @param stdout as UTF-8; bytes that are not become the replacement character
 * @param exitCode the status, 128 plus the signal, or 124 when its time was up
 * @param signal present when a signal ended it
 * @param timedOut present and true when its time was up
 * @param truncated present and true when output beyond the limit was dropped
 * @param guestPid present for a background process
 */
public record ExecResponse(
    String stdout,
    String stderr,
    int exitCode,
    OptionalInt signal,
    Optional<Boolean> timedOut,
    Optional<Boolean> truncated,
    double durationMs,
    OptionalInt guestPid) {
  public ExecResponse {
    stdout = stdout == null ? "" : stdout;
    stderr = stderr == null ? "" : stderr;
  }
}
