package dev.forkd.http;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedSet;
import java.util.TreeSet;

/**
 * Finds the route of a request. Paths are compared as they were sent: no case folding, no decoding,
 * no merging of slashes, so nothing can be reached under a name that the authentication does not
 * know. A literal segment wins over one in braces by standing first in the list.
 */
public final class Router {
  private final List<Route> routes;

  public Router(List<Route> routes) {
    this.routes = List.copyOf(routes);
  }

  /** What a method and a path lead to. */
  public sealed interface Match {
    record Found(Route route, Map<String, String> segments) implements Match {}

    /** The path is known, but not with this method. */
    record WrongMethod(SortedSet<String> allowed) implements Match {}

    record UnknownPath() implements Match {}
  }

  public Match find(String method, String rawPath) {
    List<String> segments =
        List.of(rawPath.substring(Math.min(1, rawPath.length())).split("/", -1));
    SortedSet<String> allowed = new TreeSet<>();
    for (Route route : routes) {
      Optional<Map<String, String>> values = route.match(segments);
      if (values.isPresent()) {
        if (route.method().equals(method)) {
          return new Match.Found(route, values.get());
        }
        allowed.add(route.method());
      }
    }
    return allowed.isEmpty() ? new Match.UnknownPath() : new Match.WrongMethod(allowed);
  }

  public List<Route> routes() {
    return routes;
  }
}
