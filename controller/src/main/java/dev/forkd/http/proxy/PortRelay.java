package dev.forkd.http.proxy;

import dev.forkd.api.Threads;
import dev.forkd.engine.PortConnection;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Cut;
import dev.forkd.http.CutOffException;
import dev.forkd.http.Exchange;
import dev.forkd.http.envd.RestFailure;
import io.helidon.http.HeaderNames;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * One request to a server inside a guest, on a connection of its own. Its body goes up on a second
 * thread, so that an answer may begin before it has ended.
 */
final class PortRelay {
  private static final int BUFFER_BYTES = 16384;

  /** What is still read of a body that the guest's server does not want. */
  private static final long DISCARD_BYTES_MAX = 64L << 20;

  private static final Duration UPLOAD_PATIENCE = Duration.ofSeconds(10);
  private static final Set<String> NOT_PASSED_ON =
      Set.of(
          "connection",
          "keep-alive",
          "proxy-connection",
          "te",
          "trailer",
          "transfer-encoding",
          "upgrade",
          "content-length");

  private final Exchange exchange;
  private final Target target;
  private final Ports ports;
  private final CountDownLatch uploaded = new CountDownLatch(1);
  private final AtomicReference<Cut.Standing> ear = new AtomicReference<>(() -> {});

  PortRelay(Exchange exchange, Target target, Ports ports) {
    this.exchange = exchange;
    this.target = target;
    this.ports = ports;
  }

  void run() {
    boolean chunked = exchange.header(HeaderNames.TRANSFER_ENCODING).isPresent();
    boolean hasBody =
        chunked || !exchange.header(HeaderNames.CONTENT_LENGTH).orElse("0").strip().equals("0");
    try (PortConnection guest = ports.connect();
        Cut.Standing _ = exchange.cut().on(() -> Threads.virtual("relay-cut", guest::close))) {
      send(guest.output(), GuestRequest.single(exchange, target, ports.port(), chunked));
      if (hasBody) {
        Threads.virtual("relay-up", () -> upload(guest, chunked));
      } else {
        uploadedAll(guest);
      }
      InputStream in = new BufferedInputStream(guest.input(), BUFFER_BYTES);
      GuestResponse response = read(in);
      answer(in, response);
      if (!uploaded.await(UPLOAD_PATIENCE.toMillis(), TimeUnit.MILLISECONDS)) {
        throw new ClientGoneException(new IOException("it still sends what nobody reads"));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ClientGoneException(e);
    } finally {
      ear.get().close();
    }
  }

  /** From here on the client's silence tells whether it is there. */
  private void uploadedAll(PortConnection guest) {
    ear.set(exchange.onGone(() -> Threads.virtual("relay-gone", guest::close)));
    uploaded.countDown();
  }

  private void send(OutputStream out, byte[] bytes) {
    try {
      out.write(bytes);
      out.flush();
    } catch (IOException | UncheckedIOException e) {
      // It may have answered before it closed; reading tells.
      exchange.cut().check();
    }
  }

  private GuestResponse read(InputStream in) {
    try {
      return GuestResponse.read(in);
    } catch (IOException | UncheckedIOException e) {
      exchange.cut().check();
      throw new RestFailure(
          502, "the server in the sandbox closed the connection without an answer");
    }
  }

  private void answer(InputStream in, GuestResponse response) {
    GuestResponse.Length length = response.length(exchange.method());
    List<GuestResponse.Field> fields =
        response.fields().stream()
            .filter(
                field -> !NOT_PASSED_ON.contains(field.name().toLowerCase(java.util.Locale.ROOT)))
            .toList();
    fields.forEach(field -> exchange.addHeader(field.name(), field.value()));
    if (length instanceof GuestResponse.Length.None) {
      if (exchange.method().equals("HEAD")) {
        response
            .field("content-length")
            .ifPresent(bytes -> exchange.header(HeaderNames.CONTENT_LENGTH, bytes));
      }
      exchange.empty(response.status(), response.reason());
      return;
    }
    if (length instanceof GuestResponse.Length.Known known) {
      exchange.header(HeaderNames.CONTENT_LENGTH, Long.toString(known.bytes()));
    }
    // Not closed on failure: a closed stream would tell the client that all is well.
    @SuppressWarnings("resource")
    OutputStream out = exchange.raw(response.status(), response.reason());
    try {
      GuestResponse.copy(in, length, out);
      out.close();
    } catch (IOException | UncheckedIOException e) {
      exchange.cut().check();
      throw new ClientGoneException(e);
    }
  }

  private void upload(PortConnection guest, boolean chunked) {
    byte[] buffer = new byte[BUFFER_BYTES];
    OutputStream out = guest.output();
    boolean wanted = true;
    long left = DISCARD_BYTES_MAX;
    try (InputStream body = exchange.bodyStream()) {
      for (int got = body.read(buffer); got >= 0 && left > 0; got = body.read(buffer)) {
        if (wanted) {
          wanted = pass(out, buffer, got, chunked);
        } else {
          left -= got;
        }
      }
      if (wanted && chunked) {
        send(out, "0\r\n\r\n".getBytes(StandardCharsets.US_ASCII));
      }
      if (left > 0) {
        uploadedAll(guest);
      }
    } catch (IOException | UncheckedIOException | CutOffException | ClientGoneException e) {
      guest.close(); // The client is gone: what it wanted ends too.
    }
  }

  /** False when the guest's server reads no more. */
  private static boolean pass(OutputStream out, byte[] buffer, int count, boolean chunked) {
    try {
      if (chunked) {
        out.write((Integer.toHexString(count) + "\r\n").getBytes(StandardCharsets.US_ASCII));
      }
      out.write(buffer, 0, count);
      if (chunked) {
        out.write("\r\n".getBytes(StandardCharsets.US_ASCII));
      }
      out.flush();
      return true;
    } catch (IOException | UncheckedIOException e) {
      return false;
    }
  }
}
