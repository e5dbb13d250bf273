package dev.forkd.vmm.qemu;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.locks.ReentrantLock;

/** The end of a guest's console output, bounded. Thread-safe. */
final class QemuConsole {
  static final int MAX_CHARS = 64 << 10;

  private final StringBuilder tail = new StringBuilder();
  private final ReentrantLock lock = new ReentrantLock();

  void append(String text) {
    lock.lock();
    try {
      tail.append(text);
      if (tail.length() > MAX_CHARS) {
        tail.delete(0, tail.length() - MAX_CHARS);
      }
    } finally {
      lock.unlock();
    }
  }

  /** Reads {@code source} to its end on a thread of its own. */
  void follow(String name, InputStream source) {
    Thread.ofPlatform()
        .daemon()
        .name("console-" + name)
        .start(() -> {
          byte[] buffer = new byte[4096];
          try (source) {
            for (int n = source.read(buffer); n >= 0; n = source.read(buffer)) {
              append(new String(buffer, 0, n, StandardCharsets.ISO_8859_1));
            }
          } catch (IOException e) {
            append("\n[console lost: " + e.getMessage() + "]\n");
          }
        });
  }

  String text() {
    lock.lock();
    try {
      return tail.toString();
    } finally {
      lock.unlock();
    }
  }
}
