package dev.forkd.http.connect;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.CutOffException;
import dev.forkd.http.Exchange;
import dev.forkd.http.Failures;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.regex.Pattern;

/**
 * Serves {@link Service}s. A request is one POST to {@code /SERVICE/METHOD}; the content type says
 * whether the client means a unary call or a stream, and decides how it is told of an error: by the
 * status and a JSON body, or by the last envelope of a good answer.
 */
public final class ConnectServer<C> {
  /** Longest message that is read. */
  public static final int MESSAGE_BYTES_MAX = 4 << 20;

  private static final String UNARY = "application/json";
  private static final String STREAM = "application/connect+json";
  private static final HeaderName PROTOCOL_VERSION = HeaderNames.create("connect-protocol-version");
  private static final HeaderName TIMEOUT = HeaderNames.create("connect-timeout-ms");
  private static final HeaderName STREAM_ENCODING = HeaderNames.create("connect-content-encoding");
  private static final HeaderName ACCEPT_POST = HeaderNames.create("accept-post");
  private static final Pattern MILLIS = Pattern.compile("[0-9]{1,10}");

  static final EndOfStream GOOD_END = new EndOfStream(Optional.empty());

  private final Map<String, Method<C>> methods = new LinkedHashMap<>();
  private final Semaphore workers;

  /** An error as the client reads it. */
  record Problem(String code, String message) {
    static Problem of(ConnectException failure) {
      return new Problem(failure.code().wireName(), failure.message());
    }
  }

  /** What the last envelope of a stream says. */
  record EndOfStream(Optional<Problem> error) {
    static EndOfStream of(ConnectException failure) {
      return new EndOfStream(Optional.of(Problem.of(failure)));
    }
  }

  /**
   * A server.
   *
   * @param unaryMax unary calls under way at most, those included for which nobody waits any more;
   *     further ones are RESOURCE_EXHAUSTED
   */
  public ConnectServer(List<Service<C>> services, int unaryMax) {
    for (Service<C> service : services) {
      for (Method<C> method : service.methods()) {
        methods.put("/" + service.name() + "/" + method.name(), method);
      }
    }
    this.workers = new Semaphore(unaryMax);
  }

  /**
   * Answers a request.
   *
   * @param context handed to the method's handler
   * @return a name for metrics
   */
  public String serve(Exchange exchange, C context) {
    if (!exchange.method().equals("POST")) {
      exchange.header(HeaderNames.ALLOW, "POST");
      exchange.empty(405);
      return "none";
    }
    String type = contentType(exchange);
    if (!type.equals(UNARY) && !type.equals(STREAM)) {
      return wrongType(exchange, UNARY + ", " + STREAM);
    }
    Method<C> method = methods.get(exchange.rawPath());
    switch (method) {
      case Method.Unary<C, ?> unary -> {
        if (!type.equals(UNARY)) {
          return wrongType(exchange, UNARY);
        }
        unary(exchange, context, unary);
      }
      case Method.ServerStream<C, ?> stream -> {
        if (!type.equals(STREAM)) {
          return wrongType(exchange, STREAM);
        }
        stream(exchange, context, stream);
      }
      case Method.ClientStream<C, ?> input -> {
        if (!type.equals(STREAM)) {
          return wrongType(exchange, STREAM);
        }
        input(exchange, context, input);
      }
      case null, default -> {
        refuse(
            exchange,
            type.equals(STREAM),
            new ConnectException(
                ConnectCode.UNIMPLEMENTED, "there is no procedure " + exchange.rawPath()));
        return "none";
      }
    }
    return "POST " + exchange.rawPath();
  }

  private static String contentType(Exchange exchange) {
    return exchange
        .header(HeaderNames.CONTENT_TYPE)
        .map(type -> type.split(";", 2)[0].strip().toLowerCase(Locale.ROOT))
        .orElse("");
  }

  private static String wrongType(Exchange exchange, String accepted) {
    exchange.header(ACCEPT_POST, accepted);
    exchange.empty(415);
    return "none";
  }

  private static void refuse(Exchange exchange, boolean stream, ConnectException failure) {
    if (stream) {
      new MessageStream(exchange, exchange.stream(200, STREAM), Optional.empty()).end(failure);
    } else {
      exchange.bytes(
          failure.code().httpStatus(), UNARY, ConnectMessages.write(Problem.of(failure)));
    }
  }

  private <Q> void unary(Exchange exchange, C context, Method.Unary<C, Q> method) {
    Object answer;
    try {
      Call call = call(exchange, HeaderNames.CONTENT_ENCODING);
      Q request = ConnectMessages.read(wholeBody(exchange), method.request());
      answer =
          answer(exchange, deadline(call), () -> method.handler().answer(context, call, request));
    } catch (ClientGoneException | CutOffException e) {
      throw e;
    } catch (RuntimeException e) {
      refuse(exchange, false, rendered(exchange, e));
      return;
    }
    exchange.bytes(200, UNARY, ConnectMessages.write(answer));
  }

  private interface Work {
    Object run();
  }

  /** Runs the handler where it can be left alone: what it waits for cannot be interrupted. */
  @SuppressWarnings("CatchingUnchecked") // Whatever a handler throws becomes an answer.
  private Object answer(Exchange exchange, Optional<Long> deadlineNanos, Work work) {
    if (!workers.tryAcquire()) {
      throw new ConnectException(
          ConnectCode.RESOURCE_EXHAUSTED, "too many calls are under way; try again");
    }
    CompletableFuture<Object> end = new CompletableFuture<>();
    Threads.virtual(
        "connect-unary",
        () -> {
          try {
            end.complete(work.run());
          } catch (Exception e) {
            end.completeExceptionally(e);
          } catch (Throwable e) {
            // Also when memory is short: nobody else would end the call.
            end.completeExceptionally(new IllegalStateException("the handler failed", e));
          } finally {
            workers.release();
          }
        });
    return Waiting.until(end, exchange, deadlineNanos, Waiting.NONE);
  }

  private static byte[] wholeBody(Exchange exchange) {
    try (InputStream body = exchange.bodyStream()) {
      byte[] bytes = body.readNBytes(MESSAGE_BYTES_MAX + 1);
      if (bytes.length > MESSAGE_BYTES_MAX) {
        exchange.closeConnection();
        throw new ConnectException(
            ConnectCode.INVALID_ARGUMENT, "a message of more than " + MESSAGE_BYTES_MAX + " bytes");
      }
      return bytes;
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
  }

  private <Q> void stream(Exchange exchange, C context, Method.ServerStream<C, Q> method) {
    MessageStream answers;
    try {
      Call call = call(exchange, STREAM_ENCODING);
      Q request = ConnectMessages.read(onlyMessage(exchange), method.request());
      answers = new MessageStream(exchange, exchange.stream(200, STREAM), deadline(call));
      try {
        method.handler().answer(context, call, request, answers);
      } catch (ClientGoneException | CutOffException e) {
        answers.abandon();
        throw e;
      } catch (RuntimeException e) {
        answers.end(rendered(exchange, e));
        return;
      }
      answers.end();
    } catch (ConnectException e) {
      refuse(exchange, true, e);
    }
  }

  private <Q> void input(Exchange exchange, C context, Method.ClientStream<C, Q> method) {
    Object answer;
    Optional<Long> deadlineNanos;
    try (InputStream body = exchange.bodyStream()) {
      Call call = call(exchange, STREAM_ENCODING);
      deadlineNanos = deadline(call);
      Optional<Long> limit = deadlineNanos;
      answer = method.handler().answer(context, call, () -> next(body, method.request(), limit));
    } catch (IOException e) {
      throw new ClientGoneException(e);
    } catch (ClientGoneException | CutOffException e) {
      throw e;
    } catch (RuntimeException e) {
      exchange.closeConnection(); // The rest of the body is not read.
      refuse(exchange, true, rendered(exchange, e));
      return;
    }
    MessageStream answers =
        new MessageStream(exchange, exchange.stream(200, STREAM), deadlineNanos);
    answers.send(answer);
    answers.end();
  }

  private static <Q> Optional<Q> next(
      InputStream body, Class<Q> type, Optional<Long> deadlineNanos) {
    Optional<Envelope> envelope;
    try {
      envelope = Envelope.read(body, MESSAGE_BYTES_MAX);
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
    if (deadlineNanos.isPresent() && System.nanoTime() - deadlineNanos.get() > 0) {
      throw new ConnectException(
          ConnectCode.DEADLINE_EXCEEDED, "the call's time was up before its last message");
    }
    return envelope.map(one -> ConnectMessages.read(plain(one).message(), type));
  }

  private static Envelope plain(Envelope envelope) {
    if ((envelope.flags() & Envelope.COMPRESSED) != 0) {
      throw new ConnectException(
          ConnectCode.INTERNAL, "a message is marked as compressed, but no compression is agreed");
    }
    if ((envelope.flags() & Envelope.END_OF_STREAM) != 0) {
      throw new ConnectException(
          ConnectCode.INVALID_ARGUMENT, "a request has no end-of-stream message");
    }
    return envelope;
  }

  private static byte[] onlyMessage(Exchange exchange) {
    try (InputStream body = exchange.bodyStream()) {
      Envelope envelope =
          Envelope.read(body, MESSAGE_BYTES_MAX)
              .orElseThrow(
                  () -> new ConnectException(ConnectCode.UNIMPLEMENTED, "the call has no message"));
      if (body.read() >= 0) {
        throw new ConnectException(
            ConnectCode.UNIMPLEMENTED, "the call has more than one message; it takes one");
      }
      return plain(envelope).message();
    } catch (ConnectException e) {
      exchange.closeConnection(); // The rest of the body is not read.
      throw e;
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
  }

  private static Call call(Exchange exchange, HeaderName encodingHeader) {
    Optional<String> version = exchange.header(PROTOCOL_VERSION);
    if (version.isPresent() && !version.get().equals("1")) {
      throw new ConnectException(
          ConnectCode.INVALID_ARGUMENT,
          "connect-protocol-version must be \"1\", not \"" + version.get() + "\"");
    }
    Optional<String> encoding = exchange.header(encodingHeader);
    if (encoding.isPresent() && !encoding.get().equalsIgnoreCase("identity")) {
      throw new ConnectException(
          ConnectCode.UNIMPLEMENTED,
          "unknown compression \"" + encoding.get() + "\"; supported: identity");
    }
    return new Call(exchange, exchange.header(TIMEOUT).map(ConnectServer::timeout), exchange.cut());
  }

  private static Duration timeout(String text) {
    if (!MILLIS.matcher(text).matches()) {
      throw new ConnectException(
          ConnectCode.INVALID_ARGUMENT,
          "connect-timeout-ms must be a number of at most 10 digits, not \"" + text + "\"");
    }
    return Duration.ofMillis(Long.parseLong(text));
  }

  private static Optional<Long> deadline(Call call) {
    return call.timeout().map(time -> System.nanoTime() + time.toNanos());
  }

  private static ConnectException rendered(Exchange exchange, RuntimeException failure) {
    return switch (failure) {
      case ConnectException e -> e;
      case ForkdException e
          when e.code() != ErrorCode.INTERNAL && e.code() != ErrorCode.DATA_LOSS ->
          new ConnectException(ConnectCode.of(e.code()), e.message(), e);
      default -> {
        Failures.Rendered told = Failures.render(failure, exchange.requestId());
        yield new ConnectException(ConnectCode.of(told.code()), told.message(), failure);
      }
    };
  }
}
