package dev.forkd.http.connect;

import java.util.Optional;

/**
 * One procedure of a {@link Service}. Handlers may block; they fail with {@link ConnectException},
 * or with {@link dev.forkd.api.ForkdException}, whose code is taken over.
 *
 * @param <C> what the server is told with each call, such as on whose behalf
 */
public sealed interface Method<C> {
  String name();

  /** One message there, one back. The handler may be left running when nobody waits any more. */
  record Unary<C, Q>(String name, Class<Q> request, UnaryHandler<C, Q> handler)
      implements Method<C> {
    /** Answers a call. */
    @FunctionalInterface
    public interface UnaryHandler<C, Q> {
      Object answer(C context, Call call, Q request);
    }
  }

  /** One message there, any number back. The stream ends when the handler returns. */
  record ServerStream<C, Q>(String name, Class<Q> request, StreamHandler<C, Q> handler)
      implements Method<C> {
    /** Answers a call on the request's thread. */
    @FunctionalInterface
    public interface StreamHandler<C, Q> {
      void answer(C context, Call call, Q request, MessageStream answers);
    }
  }

  /** Any number of messages there, one back. */
  record ClientStream<C, Q>(String name, Class<Q> request, InputHandler<C, Q> handler)
      implements Method<C> {
    /** Answers a call on the request's thread. */
    @FunctionalInterface
    public interface InputHandler<C, Q> {
      Object answer(C context, Call call, Messages<Q> requests);
    }

    /** What the client sends, one after the other. */
    @FunctionalInterface
    public interface Messages<Q> {
      /** The next one; waits for it. Empty when the client has sent the last. */
      Optional<Q> next();
    }
  }

  /** Known to the service's description, but not offered. */
  record NotOffered<C>(String name) implements Method<C> {}
}
