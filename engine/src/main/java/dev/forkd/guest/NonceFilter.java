package dev.forkd.guest;

import java.nio.ByteBuffer;

/**
 * Drops bytes up to and including a nonce: what a restored guest still had to say to its parent's
 * host. Not thread-safe.
 */
final class NonceFilter {
  private final byte[] nonce;
  private final byte[] window;
  private int filled;

  NonceFilter(byte[] nonce) {
    this.nonce = nonce.clone();
    this.window = new byte[nonce.length];
  }

  /** Consumes from {@code bytes}; true once the nonce was seen, with the rest left in it. */
  boolean passed(ByteBuffer bytes) {
    while (bytes.hasRemaining()) {
      byte next = bytes.get();
      if (filled == window.length) {
        System.arraycopy(window, 1, window, 0, window.length - 1);
        filled--;
      }
      window[filled++] = next;
      if (filled == nonce.length && java.util.Arrays.equals(window, nonce)) {
        return true;
      }
    }
    return false;
  }
}
