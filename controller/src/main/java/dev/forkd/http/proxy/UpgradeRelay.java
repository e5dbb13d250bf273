package dev.forkd.http.proxy;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.api.rest.Json;
import dev.forkd.engine.PortConnection;
import dev.forkd.http.Cut;
import dev.forkd.http.CutOffException;
import dev.forkd.http.Head;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * A connection that leaves HTTP, as WebSockets do: once the guest's server agrees, bytes go both
 * ways as they are. If it does not, its answer is the last thing on the connection.
 */
final class UpgradeRelay {
  private static final int BUFFER_BYTES = 16384;

  /** For the guest's server to end after the client has ended its side. */
  private static final Duration FAREWELL = Duration.ofSeconds(10);

  private static final Set<String> NOT_PASSED_ON =
      Set.of("connection", "keep-alive", "transfer-encoding");

  private final Head head;
  private final Target target;
  private final Ports ports;
  private final CountDownLatch ended = new CountDownLatch(1);

  UpgradeRelay(Head head, Target target, Ports ports) {
    this.head = head;
    this.target = target;
    this.ports = ports;
  }

  int run(InputStream in, OutputStream out, Cut cut) throws IOException {
    PortConnection connection;
    try {
      connection = ports.connect();
    } catch (ClosedPortException e) {
      return refuse(out, Refusals.closedPort(e.address()));
    } catch (CutOffException | ForkdException e) {
      return refuse(out, Refusals.noSandbox(target.id()));
    }
    try (PortConnection guest = connection;
        Cut.Standing _ = cut.on(() -> Threads.virtual("relay-cut", guest::close))) {
      guest.output().write(GuestRequest.upgrade(head, target, ports.port()));
      guest.output().flush();
      InputStream back = new BufferedInputStream(guest.input(), BUFFER_BYTES);
      GuestResponse response = GuestResponse.read(back);
      if (response.status() != 101) {
        return decline(out, back, response);
      }
      out.write(GuestResponse.bytes(text(response, Set.of())));
      out.flush();
      Threads.virtual("relay-up", () -> up(in, guest));
      GuestResponse.copy(back, new GuestResponse.Length.ToTheEnd(), out);
      return response.status();
    } catch (UncheckedIOException e) {
      throw e.getCause();
    } finally {
      ended.countDown();
    }
  }

  private static int refuse(OutputStream out, Map<String, Object> body) throws IOException {
    byte[] json = Json.write(body);
    out.write(
        GuestResponse.bytes(
            "HTTP/1.1 "
                + Refusals.GONE
                + " Bad Gateway\r\nContent-Type: application/json\r\nConnection: close\r\n"
                + "Content-Length: "
                + json.length
                + "\r\n\r\n"));
    out.write(json);
    out.flush();
    return Refusals.GONE;
  }

  private int decline(OutputStream out, InputStream back, GuestResponse response)
      throws IOException {
    out.write(
        GuestResponse.bytes(
            text(response, NOT_PASSED_ON).replaceFirst("\r\n", "\r\nConnection: close\r\n")));
    GuestResponse.copy(back, response.length(head.method()), out);
    out.flush();
    return response.status();
  }

  private static String text(GuestResponse response, Set<String> dropped) {
    StringBuilder text = new StringBuilder("HTTP/1.1 ");
    text.append(response.status()).append(' ').append(response.reason()).append("\r\n");
    for (GuestResponse.Field field : response.fields()) {
      if (!dropped.contains(field.name().toLowerCase(java.util.Locale.ROOT))) {
        text.append(field.name()).append(": ").append(field.value()).append("\r\n");
      }
    }
    return text.append("\r\n").toString();
  }

  private void up(InputStream in, PortConnection guest) {
    byte[] buffer = new byte[BUFFER_BYTES];
    try (OutputStream out = guest.output()) {
      for (int got = in.read(buffer); got >= 0; got = in.read(buffer)) {
        out.write(buffer, 0, got);
        out.flush();
      }
    } catch (IOException | UncheckedIOException | CutOffException e) {
      guest.close();
      return;
    }
    try {
      if (!ended.await(FAREWELL.toMillis(), TimeUnit.MILLISECONDS)) {
        guest.close();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      guest.close();
    }
  }
}
