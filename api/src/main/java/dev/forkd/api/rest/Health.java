package dev.forkd.api.rest;

/** Answer of {@code GET /healthz}. */
public record Health(boolean ok) {}
