package dev.forkd.http;

import io.helidon.common.GenericType;
import io.helidon.common.media.type.MediaType;
import io.helidon.webserver.http.ServerRequest;
import io.helidon.webserver.http.ServerResponse;
import io.helidon.webserver.http.spi.Sink;
import io.helidon.webserver.http.spi.SinkProvider;
import io.helidon.webserver.http.spi.SinkProviderContext;
import java.util.function.BiConsumer;

/**
 * Sends the head of an answer before there is anything of its body: a client that waits for events
 * wants to know that it is connected. The server offers that to sinks alone, which it finds as
 * services, so this is one that does nothing else.
 */
public final class HeadFlush implements SinkProvider<Object> {
  private static final GenericType<Nothing> TYPE = GenericType.create(Nothing.class);

  /** A sink for nothing. */
  static final class Nothing implements Sink<Object> {
    @Override
    public Sink<Object> emit(Object event) {
      return this;
    }

    @Override
    public void close() {}
  }

  static void of(ServerResponse response) {
    var _ = response.sink(TYPE);
  }

  @Override
  public boolean supports(GenericType<? extends Sink<?>> type, ServerRequest request) {
    return type.equals(TYPE);
  }

  @Override
  @SuppressWarnings({"unchecked", "TypeParameterUnusedInFormals"}) // Its own type is asked for.
  public <X extends Sink<Object>> X create(SinkProviderContext context) {
    context.flushHeaders();
    return (X) new Nothing();
  }

  @Override
  @SuppressWarnings({
    "removal",
    "TypeParameterUnusedInFormals"
  }) // Must be there until the library drops it; nobody calls it.
  public <X extends Sink<Object>> X create(
      ServerResponse response, BiConsumer<Object, MediaType> consumer, Runnable closing) {
    throw new UnsupportedOperationException("needs a newer server");
  }
}
