package dev.forkd.guest;

import java.util.Optional;

/**
 * What an agent says when its guest is up.
 *
 * @param evaluator {@code ready}, {@code none} or {@code failed}
 * @param detail why there is no evaluator
 */
public record AgentReady(
    String agent, String evaluator, Optional<String> language, Optional<String> detail) {}
