package dev.forkd.api.rest;

/** Answer of {@code PUT /v1/sandboxes/{id}/files}. */
public record FileWritten(String path, long sizeBytes) {}
