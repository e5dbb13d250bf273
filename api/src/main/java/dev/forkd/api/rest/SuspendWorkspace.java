package dev.forkd.api.rest;

/**
 * Body of {@code POST /v1/workspaces/{name}/suspend}.
 *
 * @param diff store only the memory that diverged, instead of all of it
 */
public record SuspendWorkspace(boolean diff) {}
