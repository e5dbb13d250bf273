package dev.forkd.http.rest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.api.WorkspaceName;
import dev.forkd.api.rest.CreateWorkspace;
import dev.forkd.api.rest.SuspendWorkspace;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.WorkspaceSpec;
import dev.forkd.engine.WorkspaceView;
import dev.forkd.engine.Workspaces;
import dev.forkd.http.Exchange;
import dev.forkd.http.Route;
import java.util.List;
import java.util.function.Supplier;

/** Workspaces: list, create, look at, suspend, resume, delete. */
final class WorkspaceRoutes {
  private static final int NAME_CHARS_SHOWN = 100;

  private final Workspaces workspaces;

  WorkspaceRoutes(ForkdEngine engine) {
    this.workspaces = engine.workspaces();
  }

  List<Route> routes() {
    return List.of(
        new Route("GET", "/v1/workspaces", this::list),
        new Route("POST", "/v1/workspaces", this::create),
        new Route("GET", "/v1/workspaces/{name}", this::get),
        new Route("DELETE", "/v1/workspaces/{name}", this::delete),
        new Route("POST", "/v1/workspaces/{name}/suspend", this::suspend),
        new Route("POST", "/v1/workspaces/{name}/resume", this::resume));
  }

  private void list(Exchange exchange) {
    exchange.json(200, workspaces.list().stream().map(Views::workspace).toList());
  }

  private void create(Exchange exchange) {
    CreateWorkspace body = exchange.body(CreateWorkspace.class);
    WorkspaceName name = new WorkspaceName(body.name());
    Tag snapshot = new Tag(body.snapshotTag());
    Checks.memoryLimit(body.memoryLimitMib());
    Checks.noNetns(body.perChildNetns());
    exchange.json(
        201,
        Views.workspace(
            workspaces.create(new WorkspaceSpec(name, snapshot, body.memoryLimitMib()))));
  }

  private void get(Exchange exchange) {
    exchange.json(200, Views.workspace(workspaces.get(name(exchange))));
  }

  private void delete(Exchange exchange) {
    workspaces.delete(name(exchange));
    exchange.empty(204);
  }

  private void suspend(Exchange exchange) {
    SuspendWorkspace body = exchange.body(SuspendWorkspace.class);
    WorkspaceName name = name(exchange);
    exchange.json(
        200, Views.workspace(asClientsKnowIt(() -> workspaces.suspend(name, body.diff()))));
  }

  private void resume(Exchange exchange) {
    WorkspaceName name = name(exchange);
    exchange.json(200, Views.workspace(asClientsKnowIt(() -> workspaces.resume(name))));
  }

  /** The published clients know 400, not 409, for a workspace that is so already. */
  private static WorkspaceView asClientsKnowIt(Supplier<WorkspaceView> change) {
    try {
      return change.get();
    } catch (ForkdException e) {
      throw e.details().containsKey(Workspaces.STATUS) ? Checks.invalid(e.message()) : e;
    }
  }

  /** What cannot be a name is as unknown as any other. */
  private static WorkspaceName name(Exchange exchange) {
    String name = exchange.segment("name");
    if (!WorkspaceName.isLegal(name)) {
      throw new ForkdException(
          ErrorCode.NOT_FOUND,
          "workspace '"
              + (name.length() > NAME_CHARS_SHOWN
                  ? name.substring(0, NAME_CHARS_SHOWN) + "…"
                  : name)
              + "' does not exist");
    }
    return new WorkspaceName(name);
  }
}
