package dev.forkd.http.connect;

import java.util.List;

/**
 * Procedures under one name.
 *
 * @param name with its package, such as {@code acme.Greeter}
 */
public record Service<C>(String name, List<Method<C>> methods) {
  public Service {
    methods = List.copyOf(methods);
  }
}
