package dev.forkd.api.rest;

import com.fasterxml.jackson.annotation.JsonProperty;
import java.util.Optional;

/**
 * Body of {@code POST /v1/sandboxes/{id}/branch}.
 *
 * @param tag of the new snapshot; made up when absent
 * @param mode {@code full}, {@code diff} or {@code live}; not together with diff or live
 * @param waitUntilReady {@code false}, with live only: the answer comes as soon as the source runs
 *     on, while the snapshot is still being written
 * @param parentTag make a chain link: a diff or live branch with the sandbox's own snapshot as
 *     parent
 */
public record BranchRequest(
    Optional<String> tag,
    boolean measureDiff,
    boolean diff,
    boolean live,
    Optional<String> mode,
    @JsonProperty("wait") Optional<Boolean> waitUntilReady,
    Optional<String> parentTag) {}
