package dev.forkd.http.envd;

import dev.forkd.engine.GuestFiles;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The part of a file that a {@code Range} header asks for. One part only: several are as if none
 * had been asked for, which a server may do.
 *
 * @see <a href="https://www.rfc-editor.org/rfc/rfc9110#name-range-requests">RFC 9110</a>
 */
sealed interface ByteRange {
  Pattern ONE = Pattern.compile("bytes=\\s*([0-9]{0,18})\\s*-\\s*([0-9]{0,18})\\s*");

  record Whole() implements ByteRange {}

  /**
   * Some bytes.
   *
   * @param first of them, counted from 0
   * @param last included
   */
  record Part(long first, long last) implements ByteRange {
    GuestFiles.Range range() {
      return new GuestFiles.Range(first, last - first + 1);
    }
  }

  /** There are no such bytes. */
  record Beyond() implements ByteRange {}

  static ByteRange of(Optional<String> header, long size) {
    Matcher one = ONE.matcher(header.orElse(""));
    if (!one.matches()) {
      return new Whole();
    }
    String first = one.group(1);
    String last = one.group(2);
    if (first.isEmpty()) {
      if (last.isEmpty()) {
        return new Whole();
      }
      long count = Math.min(Long.parseLong(last), size);
      return count == 0 ? new Beyond() : new Part(size - count, size - 1);
    }
    long from = Long.parseLong(first);
    long to = last.isEmpty() ? Long.MAX_VALUE : Long.parseLong(last);
    if (to < from) {
      return new Whole();
    }
    return from >= size ? new Beyond() : new Part(from, Math.min(to, size - 1));
  }
}
