package dev.forkd.state;

import java.util.List;

/**
 * An operation that was begun and not ended.
 *
 * @param kind what is being done, such as {@code branch}
 * @param subject what it is done to: a tag or an id
 * @param detailJson what its undo needs; opaque here
 * @param steps the steps begun so far, oldest first; the last one may or may not have happened
 */
public record JournalEntry(
    long id,
    String kind,
    String subject,
    String detailJson,
    List<String> steps,
    long startedUnixMillis) {
  public JournalEntry {
    steps = List.copyOf(steps);
  }
}
