package dev.forkd.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** One line as the words of a command: quotes of either kind group, nothing else is special. */
final class Words {
  private Words() {}

  /** The words, or empty when a quote is not closed. */
  static Optional<List<String>> split(String line) {
    List<String> words = new ArrayList<>();
    StringBuilder word = new StringBuilder();
    boolean inWord = false;
    char quote = 0;
    for (int i = 0; i < line.length(); i++) {
      char c = line.charAt(i);
      if (quote != 0 && c == quote) {
        quote = 0;
      } else if (quote == 0 && (c == '\'' || c == '"')) {
        quote = c;
        inWord = true;
      } else if (quote == 0 && Character.isWhitespace(c)) {
        if (inWord) {
          words.add(word.toString());
        }
        word.setLength(0);
        inWord = false;
      } else {
        word.append(c);
        inWord = true;
      }
    }
    if (inWord) {
      words.add(word.toString());
    }
    return quote == 0 ? Optional.of(List.copyOf(words)) : Optional.empty();
  }
}
