package dev.forkd.api.rest;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What the records do to a component that came from JSON: default it, copy it, refuse holes. */
final class Wire {
  private Wire() {}

  /** An absent list is empty. */
  static <T> List<T> list(@Nullable List<T> value, String name) {
    if (value == null) {
      return List.of();
    }
    if (value.stream().anyMatch(element -> element == null)) {
      throw new IllegalArgumentException(name + " has a null in it");
    }
    return List.copyOf(value);
  }

  /** An absent map is empty. Keeps the order. */
  static Map<String, String> map(@Nullable Map<String, String> value, String name) {
    if (value == null) {
      return Map.of();
    }
    if (value.entrySet().stream().anyMatch(e -> e.getKey() == null || e.getValue() == null)) {
      throw new IllegalArgumentException(name + " has a null in it");
    }
    return java.util.Collections.unmodifiableMap(new LinkedHashMap<>(value));
  }

  /** A text that must be there. */
  static String text(@Nullable String value, String name) {
    if (value == null) {
      throw new IllegalArgumentException("missing field '" + name + "'");
    }
    return value;
  }
}
