package dev.forkd.guest;

import java.util.Optional;

/**
 * What the agent says about its guest.
 *
 * @param evaluator {@code ready}, {@code busy}, {@code starting}, {@code none} or {@code failed}
 * @param language of the evaluator
 * @param numpy version of numpy in it
 * @param processes live user processes
 */
public record AgentStatus(
    String agent,
    String evaluator,
    Optional<String> language,
    Optional<String> numpy,
    int processes,
    boolean idle) {}
