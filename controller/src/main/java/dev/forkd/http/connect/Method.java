package dev.forkd.http.connect;

import java.util.Optional;
import java.util.function.Consumer;

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

  /**
   * One message there, one back that is nothing but a list, which may be long: it goes out while it
   * comes about. Whether the client's time is over is looked at with each element.
   *
   * @param field of the list in the answer
   */
  record Listing<C, Q>(String name, Class<Q> request, String field, ListingHandler<C, Q> handler)
      implements Method<C> {
    /** Answers a call on the request's thread. */
    @FunctionalInterface
    public interface ListingHandler<C, Q> {
      /**
       * @param elements takes the list's elements one by one and waits for the client when it must
       */
      void answer(C context, Call call, Q request, Consumer<Object> elements);
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
