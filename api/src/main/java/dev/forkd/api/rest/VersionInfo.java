package dev.forkd.api.rest;

/**
 * Answer of {@code GET /version}.
 *
 * @param version of this daemon
 * @param api of the routes, the first segment of their path
 */
public record VersionInfo(String version, String api) {}
