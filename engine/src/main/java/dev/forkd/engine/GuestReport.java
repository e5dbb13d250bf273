package dev.forkd.engine;

import java.util.Optional;

/**
 * What the guest agent says about itself.
 *
 * @param evaluator {@code ready}, {@code busy}, {@code starting}, {@code none}
 * @param numpyVersion version of numpy in the warm interpreter
 * @param processes live user processes
 */
public record GuestReport(
    String agentVersion,
    String evaluator,
    Optional<String> language,
    Optional<String> numpyVersion,
    int processes,
    boolean idle,
    double roundTripMillis) {}
