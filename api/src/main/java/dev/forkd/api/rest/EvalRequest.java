package dev.forkd.api.rest;

import java.util.OptionalLong;

/**
 * Body of {@code POST /v1/sandboxes/{id}/eval}.
 *
 * @param timeoutSecs 1 to 86400; 30 when absent
 */
public record EvalRequest(String code, OptionalLong timeoutSecs) {
  public EvalRequest {
    code = Wire.text(code, "code");
  }
}
