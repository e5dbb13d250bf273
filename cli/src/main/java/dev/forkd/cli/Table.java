package dev.forkd.cli;

import java.util.ArrayList;
import java.util.List;

/**
 * Columns for people: a heading, two spaces between columns, no trailing blanks. Numbers lean right
 * where the column was made so.
 */
final class Table {
  private static final String GAP = "  ";

  private final List<String> headings;
  private final boolean[] right;
  private final List<List<String>> rows = new ArrayList<>();

  /**
   * @param headings one per column; one that begins with {@code >} makes the column lean right
   */
  Table(String... headings) {
    this.headings =
        List.of(headings).stream().map(h -> h.startsWith(">") ? h.substring(1) : h).toList();
    this.right = new boolean[headings.length];
    for (int i = 0; i < headings.length; i++) {
      right[i] = headings[i].startsWith(">");
    }
  }

  /** Adds a row; one cell per heading. */
  Table row(Object... cells) {
    if (cells.length != headings.size()) {
      throw new IllegalArgumentException(cells.length + " cells for " + headings.size());
    }
    rows.add(List.of(cells).stream().map(cell -> oneLine(cell.toString())).toList());
    return this;
  }

  boolean isEmpty() {
    return rows.isEmpty();
  }

  /** The whole table, each line ended. */
  String render() {
    int[] widths = new int[headings.size()];
    measure(headings, widths);
    rows.forEach(row -> measure(row, widths));
    StringBuilder text = new StringBuilder();
    append(text, headings, widths);
    rows.forEach(row -> append(text, row, widths));
    return text.toString();
  }

  private static void measure(List<String> cells, int[] widths) {
    for (int i = 0; i < widths.length; i++) {
      widths[i] = Math.max(widths[i], width(cells.get(i)));
    }
  }

  private void append(StringBuilder text, List<String> cells, int[] widths) {
    StringBuilder line = new StringBuilder();
    for (int i = 0; i < widths.length; i++) {
      String blanks = " ".repeat(widths[i] - width(cells.get(i)));
      line.append(i == 0 ? "" : GAP);
      line.append(right[i] ? blanks + cells.get(i) : cells.get(i) + blanks);
    }
    text.append(line.toString().stripTrailing()).append('\n');
  }

  private static int width(String cell) {
    return cell.codePointCount(0, cell.length());
  }

  /** A cell may hold what a guest said: no line breaks and no terminal escapes from there. */
  private static String oneLine(String cell) {
    return cell.codePoints()
        .map(c -> Character.isISOControl(c) ? ' ' : c)
        .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
        .toString();
  }
}
