package dev.forkd.api.rest;

import java.util.OptionalLong;

/**
 * Body of {@code POST /v1/workspaces}.
 *
 * @param name 1 to 64 ASCII letters, digits, dashes or underscores
 * @param snapshotTag what its first sandbox is forked from
 * @param memoryLimitMib hard limit on the host memory of each of its sandboxes
 */
public record CreateWorkspace(
    String name, String snapshotTag, boolean perChildNetns, OptionalLong memoryLimitMib) {
  public CreateWorkspace {
    name = Wire.text(name, "name");
    snapshotTag = Wire.text(snapshotTag, "snapshot_tag");
  }
}
