package dev.forkd.engine;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * A sandbox as seen from outside at one moment.
 *
 * @param pid the VMM process on this host; empty once it is gone
 * @param isolation {@code kvm} or {@code emulation}
 * @param state {@code created}, {@code idle} (paused, resumes by itself), {@code running}, {@code
 *     failed}, {@code killing} (its removal is not over; killing it again goes on with it)
 * @param failure why it failed
 * @param divergedBytes guest memory of its own, not shared with its snapshot
 */
public record SandboxView(
    SandboxId id,
    Tag snapshot,
    long createdAtUnix,
    OptionalInt pid,
    OptionalLong memoryLimitMib,
    int branchCount,
    Optional<Path> lastBranchMemoryPath,
    String isolation,
    String state,
    Optional<String> failure,
    int memoryMib,
    OptionalLong divergedBytes,
    Certificate certificate) {}
