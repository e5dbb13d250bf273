package dev.forkd.api.rest;

import com.fasterxml.jackson.annotation.JsonProperty;
import java.util.Optional;

/**
 * Body of {@code POST /v1/sandboxes/{id}/branch}.
 *
 * @param tag of the new snapshot; made up when absent
 * @param mode {@code full} or {@code diff}; not together with diff or live
 * @param parentTag make a chain link: a diff with the sandbox's own snapshot as parent
 */
public record BranchRequest(
    Optional<String> tag,
    boolean measureDiff,
    boolean diff,
    boolean live,
    Optional<String> mode,
    @JsonProperty("wait") Optional<Boolean> waitUntilReady,
    Optional<String> parentTag) {}
