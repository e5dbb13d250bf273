package dev.forkd.engine;

import java.util.Optional;

/**
 * What evaluated code gave.
 *
 * @param result its {@code repr}; empty when it raised
 * @param error one line, type and text; empty when it did not raise
 * @param stdout what it printed meanwhile
 */
public record EvalResult(
    Optional<String> result,
    Optional<String> error,
    Optional<String> traceback,
    String stdout,
    double wallMillis) {}
