package dev.forkd.api.rest;

import java.util.OptionalInt;

/**
 * Body of {@code POST …/exec/{session}/signal}.
 *
 * @param signal its number, 1 to 64
 */
public record SignalRequest(OptionalInt signal) {}
