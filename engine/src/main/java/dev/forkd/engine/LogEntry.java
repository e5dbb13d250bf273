package dev.forkd.engine;

import java.time.Instant;
import java.util.Map;

/**
 * Something that happened to a hosted sandbox, or in it.
 *
 * @param logger what tells it: {@code sandbox} of its life, {@code process} of its processes
 * @param fields more about it, in no order
 */
public record LogEntry(
    Instant time, Level level, String logger, String message, Map<String, String> fields) {
  /** How much it matters, the least first. */
  public enum Level {
    DEBUG,
    INFO,
    WARN,
    ERROR
  }

  public LogEntry {
    fields = Map.copyOf(fields);
  }
}
