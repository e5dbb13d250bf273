package dev.forkd.http;

import dev.forkd.api.rest.Json;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.locks.ReentrantLock;

/**
 * An answer made of JSON lines. Any thread may write; a line is flushed before the call returns, so
 * a slow client slows the writer and nothing piles up here.
 */
public final class NdjsonStream implements AutoCloseable {
  private final OutputStream out;
  private final ReentrantLock lock = new ReentrantLock();

  NdjsonStream(OutputStream out) {
    this.out = out;
  }

  /**
   * Writes one line.
   *
   * @throws ClientGoneException when nobody reads any more
   */
  public void line(Object message) {
    byte[] bytes = (Json.text(message) + "\n").getBytes(StandardCharsets.UTF_8);
    lock.lock();
    try {
      out.write(bytes);
      out.flush();
    } catch (IOException e) {
      throw new ClientGoneException(e);
    } finally {
      lock.unlock();
    }
  }

  /** Ends the answer. */
  @Override
  public void close() {
    lock.lock();
    try {
      out.close();
    } catch (IOException e) {
      throw new ClientGoneException(e);
    } finally {
      lock.unlock();
    }
  }
}
