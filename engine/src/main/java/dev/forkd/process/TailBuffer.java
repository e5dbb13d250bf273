package dev.forkd.process;

import java.nio.charset.StandardCharsets;

/** Keeps the last bytes of a stream in a ring. Written by one thread, read by any. */
public final class TailBuffer {
  private static final int FIRST_BYTES = 4096;

  private final int limit;
  private byte[] ring;
  private long written;

  /**
   * @param limit bytes kept at most
   */
  public TailBuffer(int limit) {
    this.limit = limit;
    this.ring = new byte[Math.min(limit, FIRST_BYTES)];
  }

  /** Takes the first {@code length} of these bytes. */
  public synchronized void append(byte[] bytes, int length) {
    for (int i = 0; i < length; i++) {
      if (written == ring.length && ring.length < limit) {
        ring = java.util.Arrays.copyOf(ring, (int) Math.min(limit, ring.length * 4L));
      }
      ring[(int) (written % ring.length)] = bytes[i];
      written++;
    }
  }

  synchronized boolean truncated() {
    return written > ring.length;
  }

  /** What is kept, as UTF-8; a character cut at its beginning becomes the replacement. */
  public synchronized String text() {
    if (written <= ring.length) {
      return new String(ring, 0, (int) written, StandardCharsets.UTF_8);
    }
    int start = (int) (written % ring.length);
    byte[] ordered = new byte[ring.length];
    System.arraycopy(ring, start, ordered, 0, ring.length - start);
    System.arraycopy(ring, 0, ordered, ring.length - start, start);
    return new String(ordered, StandardCharsets.UTF_8);
  }
}
