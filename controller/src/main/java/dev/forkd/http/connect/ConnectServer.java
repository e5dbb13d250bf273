package dev.forkd.http.connect;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Cut;
import dev.forkd.http.CutOffException;
import dev.forkd.http.Exchange;
import dev.forkd.http.Failures;
import dev.forkd.http.HeapBudget;
import dev.forkd.http.ListAnswer;
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
import java.util.concurrent.TimeUnit;
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
      case Method.Listing<C, ?> listing -> {
        if (!type.equals(UNARY)) {
          return wrongType(exchange, UNARY);
        }
        listing(exchange, context, listing);
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
    Cut over = new Cut();
    try (Cut.Standing _ = exchange.cut().on(over::cut)) {
      Call call = call(exchange, HeaderNames.CONTENT_ENCODING, over);
      CompletableFuture<Object> end = begin(exchange, context, method, call);
      answer = Waiting.until(end, exchange, deadline(call), Waiting.NONE);
    } catch (ClientGoneException | CutOffException e) {
      throw e;
    } catch (RuntimeException e) {
      refuse(exchange, false, rendered(exchange, e));
      return;
    } finally {
      over.cut(); // Nobody waits any more, so a handler that still runs has nothing to do.
    }
    exchange.bytes(200, UNARY, ConnectMessages.write(answer));
  }

  /** Reads the message and begins to work for it; it counts as held until that has ended. */
  private <Q> CompletableFuture<Object> begin(
      Exchange exchange, C context, Method.Unary<C, Q> method, Call call) {
    HeapBudget.Share held = exchange.holding();
    boolean begun = false;
    try {
      Q request = ConnectMessages.read(wholeBody(exchange, held), method.request(), held);
      CompletableFuture<Object> end =
          begin(() -> method.handler().answer(context, call, request), held::close);
      begun = true;
      return end;
    } finally {
      if (!begun) {
        held.close();
      }
    }
  }

  private <Q> void listing(Exchange exchange, C context, Method.Listing<C, Q> method) {
    ListAnswer answer = new ListAnswer(exchange, "{\"" + method.field() + "\":[", "]}");
    try (HeapBudget.Share held = exchange.holding()) {
      Call call = call(exchange, HeaderNames.CONTENT_ENCODING, exchange.cut());
      Optional<Long> deadlineNanos = deadline(call);
      Q request = ConnectMessages.read(wholeBody(exchange, held), method.request(), held);
      method
          .handler()
          .answer(
              context,
              call,
              request,
              element -> {
                inTime(deadlineNanos);
                answer.add(ConnectMessages.write(element));
              });
      inTime(deadlineNanos);
    } catch (ClientGoneException | CutOffException e) {
      throw e;
    } catch (RuntimeException e) {
      exchange.cut().check();
      if (exchange.started()) {
        throw e; // It breaks off.
      }
      refuse(exchange, false, rendered(exchange, e));
      return;
    }
    answer.end();
  }

  private static void inTime(Optional<Long> deadlineNanos) {
    if (deadlineNanos.isPresent() && System.nanoTime() - deadlineNanos.get() > 0) {
      throw new ConnectException(ConnectCode.DEADLINE_EXCEEDED, "the time the client gave is over");
    }
  }

  private interface Work {
    Object run();
  }

  /** Runs the handler where it can be left alone: what it waits for cannot be interrupted. */
  @SuppressWarnings("CatchingUnchecked") // Whatever a handler throws becomes an answer.
  private CompletableFuture<Object> begin(Work work, Runnable after) {
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
            after.run();
          }
        });
    return end;
  }

  private static byte[] wholeBody(Exchange exchange, HeapBudget.Share held) {
    try (InputStream body = exchange.bodyStream()) {
      byte[] bytes = exchange.kept(body, MESSAGE_BYTES_MAX + 1, held);
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
    try (HeapBudget.Share held = exchange.holding()) {
      Call call = call(exchange, STREAM_ENCODING, exchange.cut());
      Q request = ConnectMessages.read(onlyMessage(exchange, held), method.request(), held);
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
    } catch (ConnectException | ForkdException e) {
      refuse(exchange, true, rendered(exchange, e));
    }
  }

  private <Q> void input(Exchange exchange, C context, Method.ClientStream<C, Q> method) {
    Object answer;
    Optional<Long> deadlineNanos;
    Cut over = new Cut();
    CompletableFuture<Void> end = new CompletableFuture<>();
    // Closing it would wait for its end, which a client may send only when it has heard of an
    // error.
    @SuppressWarnings("resource")
    InputStream body = exchange.bodyStream();
    try (Cut.Standing _ = exchange.cut().on(over::cut)) {
      Call call = call(exchange, STREAM_ENCODING, over);
      deadlineNanos = deadline(call);
      call.timeout().ifPresent(time -> cutAfter(time, end, over));
      try (Incoming<Q> requests = new Incoming<>(exchange, body, method.request(), deadlineNanos)) {
        answer = method.handler().answer(context, call, requests);
      }
      body.close();
    } catch (IOException e) {
      throw new ClientGoneException(e);
    } catch (ClientGoneException e) {
      throw e;
    } catch (RuntimeException e) {
      boolean late = e instanceof CutOffException;
      if (late && exchange.cut().isCut()) {
        throw e;
      }
      exchange.closeConnection(); // The rest of the body is not read.
      refuse(exchange, true, late ? Incoming.timeIsUp() : rendered(exchange, e));
      return;
    } finally {
      end.complete(null);
    }
    MessageStream answers =
        new MessageStream(exchange, exchange.stream(200, STREAM), deadlineNanos);
    answers.send(answer);
    answers.end();
  }

  /** Cuts a call's work when its time is up before it has ended. */
  private static void cutAfter(Duration time, CompletableFuture<Void> end, Cut over) {
    var _ =
        end.orTimeout(time.toNanos(), TimeUnit.NANOSECONDS)
            .whenComplete((_, late) -> {
              if (late != null) {
                over.cut();
              }
            });
  }

  private static byte[] onlyMessage(Exchange exchange, HeapBudget.Share held) {
    try (InputStream body = exchange.bodyStream()) {
      Envelope envelope =
          Envelope.read(held.counted(body), MESSAGE_BYTES_MAX)
              .orElseThrow(
                  () -> new ConnectException(ConnectCode.UNIMPLEMENTED, "the call has no message"));
      if (body.read() >= 0) {
        throw new ConnectException(
            ConnectCode.UNIMPLEMENTED, "the call has more than one message; it takes one");
      }
      return envelope.plain().message();
    } catch (ConnectException | ForkdException e) {
      exchange.closeConnection(); // The rest of the body is not read.
      throw e;
    } catch (IOException e) {
      throw new ClientGoneException(e);
    }
  }

  private static Call call(Exchange exchange, HeaderName encodingHeader, Cut cut) {
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
    return new Call(exchange, exchange.header(TIMEOUT).map(ConnectServer::timeout), cut);
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
