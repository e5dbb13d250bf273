package dev.forkd.http.rest;

import dev.forkd.engine.ForkdEngine;
import dev.forkd.http.Route;
import dev.forkd.http.Router;
import dev.forkd.metrics.Meters;
import java.util.List;
import java.util.function.LongSupplier;
import java.util.stream.Stream;

/** All routes of the REST interface. */
public final class RestRoutes {
  private RestRoutes() {}

  /**
   * The router over an engine.
   *
   * @param shutdown called when a client asks the daemon to stop; must return at once
   */
  public static Router router(
      ForkdEngine engine,
      Meters meters,
      LongSupplier nanoClock,
      String version,
      Runnable shutdown) {
    List<Route> routes =
        Stream.of(
                new SystemRoutes(engine, meters, version, shutdown).routes(),
                new SnapshotRoutes(engine).routes(),
                new SandboxRoutes(engine, meters, nanoClock).routes(),
                new BranchRoutes(engine, meters).routes(),
                new ExecRoutes(engine, meters, nanoClock).routes(),
                new ExecStreamRoutes(engine, meters, nanoClock).routes(),
                new FileRoutes(engine).routes(),
                new WorkspaceRoutes(engine).routes(),
                new PoolRoutes(engine).routes(),
                new TemplateRoutes(engine).routes())
            .flatMap(List::stream)
            .toList();
    return new Router(routes);
  }
}
