package dev.forkd.http;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Optional;

/**
 * An interface besides the forkd REST one on the same port, with its own addresses and its own way
 * to know who may enter.
 */
public interface Surface extends AutoCloseable {
  /** Whether a request is for this surface; must not block. */
  boolean takes(Head head);

  /**
   * Authenticates and answers a request that it {@link #takes}.
   *
   * @return a name for metrics, one of few
   */
  String serve(Exchange exchange);

  /**
   * Takes a connection over whose request wants to leave HTTP, as WebSockets do.
   *
   * @return empty when the request is to be served as any other
   */
  default Optional<Takeover> upgrade(Head head, Cut cut) {
    return Optional.empty();
  }

  /** What is done with a connection that is taken over; it is closed afterwards. */
  interface Takeover {
    /**
     * @param in what the client sends after the head of its request
     * @return the status that was answered
     */
    int run(InputStream in, OutputStream out) throws IOException;
  }

  /** Ends what would last; called before the server waits for what is under way. */
  @Override
  void close();
}
