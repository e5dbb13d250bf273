package dev.forkd.engine;

import dev.forkd.api.Tag;
import dev.forkd.api.WorkspaceName;
import java.util.OptionalLong;

/**
 * A workspace to create.
 *
 * @param snapshot what its first sandbox is forked from; never changed or removed by the workspace
 * @param memoryLimitMib hard limit on the host memory of each of its sandboxes, enforced by cgroup
 */
public record WorkspaceSpec(WorkspaceName name, Tag snapshot, OptionalLong memoryLimitMib) {}
