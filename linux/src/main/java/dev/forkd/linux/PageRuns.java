package dev.forkd.linux;

import java.util.Arrays;

/**
 * A set of pages as runs of neighbours, in ascending order. Immutable.
 *
 * <p>A page is {@value #PAGE_BYTES} bytes, the unit x86-64 tracks and {@code /proc/PID/pagemap}
 * reports.
 */
public final class PageRuns {
  public static final int PAGE_BYTES = 4096;

  private final long[] firstAndLength;
  private final long[] before;
  private final long pages;

  private PageRuns(long[] firstAndLength) {
    this.firstAndLength = firstAndLength;
    this.before = new long[firstAndLength.length / 2];
    long sum = 0;
    for (int i = 0; i < before.length; i++) {
      before[i] = sum;
      sum += firstAndLength[2 * i + 1];
    }
    this.pages = sum;
  }

  /** Number of runs. */
  public int runs() {
    return firstAndLength.length / 2;
  }

  /** Index of the first page of run {@code i}. */
  public long first(int i) {
    return firstAndLength[2 * i];
  }

  /** Pages in run {@code i}. */
  public long length(int i) {
    return firstAndLength[2 * i + 1];
  }

  /** Pages in all runs before run {@code i}. */
  public long pagesBefore(int i) {
    return before[i];
  }

  /** Pages in all. */
  public long pages() {
    return pages;
  }

  public long bytes() {
    return pages * PAGE_BYTES;
  }

  /** Pages in either. */
  public PageRuns union(PageRuns other) {
    Builder builder = new Builder();
    int a = 0;
    int b = 0;
    while (a < runs() || b < other.runs()) {
      boolean mine = b >= other.runs() || (a < runs() && first(a) <= other.first(b));
      long first = mine ? first(a) : other.first(b);
      long length = mine ? length(a++) : other.length(b++);
      builder.merge(first, length);
    }
    return builder.build();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof PageRuns that && Arrays.equals(firstAndLength, that.firstAndLength);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(firstAndLength);
  }

  @Override
  public String toString() {
    return pages + " pages in " + runs() + " runs";
  }

  /** Collects runs that come in ascending order. */
  public static final class Builder {
    private long[] values = new long[64];
    private int used;

    /** Adds a run that starts at or after the end of the last one; joins it if it touches. */
    public void add(long first, long length) {
      if (length <= 0) {
        return;
      }
      long end = used == 0 ? 0 : values[used - 2] + values[used - 1];
      if (used > 0 && first < end) {
        throw new IllegalArgumentException("run at " + first + " starts before " + end);
      }
      if (used > 0 && first == end) {
        values[used - 1] += length;
        return;
      }
      if (used == values.length) {
        values = Arrays.copyOf(values, used * 2);
      }
      values[used++] = first;
      values[used++] = length;
    }

    /** Adds a run that may overlap the last one. */
    void merge(long first, long length) {
      long end = used == 0 ? 0 : values[used - 2] + values[used - 1];
      if (used == 0 || first >= end) {
        add(first, length);
      } else if (first + length > end) {
        values[used - 1] = first + length - values[used - 2];
      }
    }

    public PageRuns build() {
      return new PageRuns(Arrays.copyOf(values, used));
    }
  }
}
