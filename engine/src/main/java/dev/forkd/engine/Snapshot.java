package dev.forkd.engine;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * An immutable saved microVM: memory image, device state, disk.
 *
 * @param dir the folder that holds its manifest and device state
 * @param parent the chain edge: the snapshot it names as its parent, which cannot be deleted before
 *     it; empty unless that was asked for
 * @param source the snapshot it was made from: the one the branched sandbox was forked from, or the
 *     one that was compacted or booted anew; empty for a template
 * @param branchedFrom the sandbox it was branched from; empty for what was not branched
 * @param branchMode {@code full}, {@code diff}, {@code measure_diff}, {@code compact} or {@code
 *     reboot}
 * @param pauseMillis pause window of the branch, from the stop to the resume, as measured
 * @param diffMillis time spent copying diverged pages, for {@code diff} and {@code measure_diff}
 * @param diffPhysicalBytes bytes of diverged guest memory that were stored
 * @param diffLogicalBytes size of guest memory
 * @param freezeMillis time to freeze the guest's user processes, before the pause window
 * @param memoryMib guest memory
 * @param diskMib size of the root disk
 * @param memoryBytes space that its own memory image takes
 * @param diskBytes space that its own disk layer takes
 * @param warning empty unless there is something the user should know
 */
public record Snapshot(
    Tag tag,
    Path dir,
    long createdAtUnix,
    Status status,
    boolean template,
    Optional<Tag> parent,
    Optional<Tag> source,
    Optional<SandboxId> branchedFrom,
    Optional<String> branchMode,
    OptionalLong pauseMillis,
    OptionalLong diffMillis,
    OptionalLong diffPhysicalBytes,
    OptionalLong diffLogicalBytes,
    OptionalLong freezeMillis,
    int memoryMib,
    int diskMib,
    long memoryBytes,
    long diskBytes,
    Optional<String> warning) {

  /** The same with something the user should know. */
  public Snapshot withWarning(String text) {
    return new Snapshot(
        tag,
        dir,
        createdAtUnix,
        status,
        template,
        parent,
        source,
        branchedFrom,
        branchMode,
        pauseMillis,
        diffMillis,
        diffPhysicalBytes,
        diffLogicalBytes,
        freezeMillis,
        memoryMib,
        diskMib,
        memoryBytes,
        diskBytes,
        Optional.of(text));
  }

  /** Only a READY snapshot can be forked. */
  public enum Status {
    /** Being written; becomes READY or vanishes. */
    WRITING,
    /** Complete and on disk. */
    READY,
    /** Damaged or incomplete; the warning says what is missing. */
    FAILED
  }

  public boolean bootable() {
    return status == Status.READY;
  }
}
