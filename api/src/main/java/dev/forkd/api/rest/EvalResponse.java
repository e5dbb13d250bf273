package dev.forkd.api.rest;

import com.fasterxml.jackson.annotation.JsonInclude;
import java.util.Optional;

/**
 * Answer of {@code POST /v1/sandboxes/{id}/eval}.
 *
 * @param result the value's {@code repr}; null when it raised
 * @param error type and text of the exception; null when it did not raise
 * @param exitCode 1 when it raised, else 0
 */
public record EvalResponse(
    @JsonInclude(JsonInclude.Include.ALWAYS) Optional<String> result,
    @JsonInclude(JsonInclude.Include.ALWAYS) Optional<String> error,
    int exitCode,
    Optional<String> traceback,
    String stdout,
    double durationMs) {
  public EvalResponse {
    stdout = stdout == null ? "" : stdout;
  }
}
