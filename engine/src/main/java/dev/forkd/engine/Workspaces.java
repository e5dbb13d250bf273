package dev.forkd.engine;

import dev.forkd.api.WorkspaceName;
import java.util.List;

/**
 * Workspaces: named sandboxes that can be put away and taken up again. An unknown name is {@code
 * NOT_FOUND}. While one of these methods works on a workspace, another one for the same workspace
 * is {@code ABORTED}.
 */
public interface Workspaces {
  /** The detail of a FAILED_PRECONDITION that says what the workspace already is. */
  String STATUS = "workspace_status";

  /** All of them, sorted by name. */
  List<WorkspaceView> list();

  WorkspaceView get(WorkspaceName name);

  /**
   * Forks a sandbox and gives it a name.
   *
   * @throws dev.forkd.api.ForkdException ALREADY_EXISTS when the name is taken, NOT_FOUND when the
   *     snapshot does not exist
   */
  WorkspaceView create(WorkspaceSpec spec);

  /**
   * Saves the workspace's sandbox as a new snapshot and ends it. Whatever fails before that is
   * durable, the sandbox lives on and the former state is untouched. Requests to the sandbox that
   * are under way are waited for a while; new ones are refused meanwhile.
   *
   * @param diff store only the memory that diverged, instead of all of it
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when it is suspended already ({@link
   *     #STATUS} tells), or requests to its sandbox do not end; NOT_FOUND when its sandbox is gone
   */
  WorkspaceView suspend(WorkspaceName name, boolean diff);

  /**
   * Forks a sandbox from what the workspace was last saved as, or from its source when it never
   * was.
   *
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when it runs ({@link #STATUS} tells),
   *     NOT_FOUND when that snapshot does not exist any more
   */
  WorkspaceView resume(WorkspaceName name);

  /**
   * Boots the disk that a suspended workspace was saved with: its state has the same files then,
   * and nothing runs in it but what is started at boot. When it fails the state is as before.
   *
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when it runs ({@link #STATUS} tells),
   *     DEADLINE_EXCEEDED when the guest does not come up, RESOURCE_EXHAUSTED when too many boot
   */
  WorkspaceView reboot(WorkspaceName name);

  /**
   * Ends its sandbox without saving it, so that it is suspended as it was saved last; nothing when
   * it has none.
   */
  WorkspaceView discard(WorkspaceName name);

  /**
   * Ends its sandbox and removes it and its saved state; never its source. A state that other
   * snapshots name as their parent stays as a snapshot like any other.
   */
  void delete(WorkspaceName name);
}
