package dev.forkd.api.rest;

import java.util.Optional;

/**
 * Answer of {@code POST /v1/sandboxes/{id}/ping}.
 *
 * @param pong always true
 * @param numpyVersion in the warm interpreter, or {@code not-installed}
 * @param agentLang the warm interpreter's language
 * @param warmupReady whether eval would be served at once
 * @param evaluator {@code ready}, {@code busy}, {@code starting}, {@code failed} or {@code none}
 * @param processes live user processes
 */
public record PingResponse(
    boolean pong,
    String numpyVersion,
    Optional<String> agentLang,
    boolean warmupReady,
    String agentVersion,
    String evaluator,
    int processes,
    boolean idle,
    double roundTripMs) {
  public PingResponse {
    numpyVersion = numpyVersion == null ? "not-installed" : numpyVersion;
    agentVersion = agentVersion == null ? "" : agentVersion;
    evaluator = evaluator == null ? "" : evaluator;
  }
}
