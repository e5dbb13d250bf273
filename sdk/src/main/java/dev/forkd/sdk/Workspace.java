package dev.forkd.sdk;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SuspendWorkspace;
import dev.forkd.api.rest.WorkspaceInfo;
import java.net.http.HttpRequest.BodyPublishers;
import java.time.Duration;
import java.util.Optional;

/**
 * A named sandbox that can be put away and taken up again: suspended it is only files, resumed it
 * goes on with its memory, its processes and its disk. Any thread may use it.
 */
public final class Workspace {
  /** What saving all of a large memory may take beyond other requests. */
  private static final Duration SAVING = Duration.ofMinutes(2);

  private final Transport transport;
  private final WorkspaceInfo info;

  Workspace(Transport transport, WorkspaceInfo info) {
    this.transport = transport;
    this.info = info;
  }

  static WorkspaceInfo get(Transport transport, String name) {
    return transport.get(path(name), WorkspaceInfo.class);
  }

  private static String path(String name) {
    return "/v1/workspaces/" + Transport.encode(name);
  }

  public String name() {
    return info.name();
  }

  /** What was known when this object was made. */
  public WorkspaceInfo info() {
    return info;
  }

  /** What is known now. */
  public WorkspaceInfo refresh() {
    return get(transport, name());
  }

  /**
   * The sandbox it has now; each resumption makes another.
   *
   * @throws ForkdApiException FAILED_PRECONDITION while it is not running
   */
  public Sandbox sandbox() {
    WorkspaceInfo now = refresh();
    String id =
        now.liveSandboxId()
            .orElseThrow(() ->
                new ForkdApiException(
                    ErrorCode.FAILED_PRECONDITION,
                    0,
                    "",
                    "workspace '" + name() + "' is " + now.status() + "; resume it first",
                    null));
    return new Sandbox(
        transport, transport.get("/v1/sandboxes/" + Transport.encode(id), SandboxInfo.class));
  }

  /**
   * Saves its sandbox with all of its memory and ends it. Should that fail, the sandbox lives on.
   *
   * @return the workspace as it is then
   */
  public Workspace suspend() {
    return suspend(new SuspendWorkspace(false));
  }

  /** The same, storing only the memory that diverged since the sandbox was forked. */
  public Workspace suspendDiff() {
    return suspend(new SuspendWorkspace(true));
  }

  private Workspace suspend(SuspendWorkspace how) {
    return new Workspace(
        transport,
        transport.post(
            path(name()) + "/suspend", how, WorkspaceInfo.class, transport.timeout().plus(SAVING)));
  }

  /**
   * Forks a sandbox from what it was last saved as, or from its source when it never was.
   *
   * @return the workspace as it is then
   */
  public Workspace resume() {
    return new Workspace(transport, transport.post(path(name()) + "/resume", WorkspaceInfo.class));
  }

  /** Ends its sandbox and removes it with its saved state; its source stays. */
  public void delete() {
    transport.call("DELETE", path(name()), BodyPublishers.noBody(), Optional.empty());
  }

  @Override
  public String toString() {
    return "workspace " + name() + " of " + info.sourceSnapshotTag();
  }
}
