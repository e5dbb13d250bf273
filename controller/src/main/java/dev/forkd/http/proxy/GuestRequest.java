package dev.forkd.http.proxy;

import dev.forkd.http.Head;
import io.helidon.http.Header;
import io.helidon.http.HeaderNames;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;

/** The head of a request as the guest's server gets it: as it came, but for what is ours. */
final class GuestRequest {
  /** These speak about the client's connection to us. */
  private static final Set<String> HOP_BY_HOP =
      Set.of(
          "connection",
          "keep-alive",
          "proxy-connection",
          "te",
          "trailer",
          "transfer-encoding",
          "upgrade",
          "expect");

  private GuestRequest() {}

  /**
   * One request on a connection of its own.
   *
   * @param chunked its body comes in chunks
   */
  static byte[] single(Head head, Target target, int port, boolean chunked) {
    Set<String> dropped = new HashSet<>(HOP_BY_HOP);
    head.header(HeaderNames.CONNECTION)
        .ifPresent(names ->
            Arrays.stream(names.split(","))
                .map(name -> name.strip().toLowerCase(Locale.ROOT))
                .forEach(dropped::add));
    dropped.remove("host");
    return text(
        head,
        target,
        port,
        dropped,
        chunked ? "Transfer-Encoding: chunked\r\nConnection: close\r\n" : "Connection: close\r\n");
  }

  /** One that wants to leave HTTP. */
  static byte[] upgrade(Head head, Target target, int port) {
    return text(head, target, port, Set.of(), "");
  }

  private static byte[] text(
      Head head, Target target, int port, Set<String> dropped, String added) {
    StringBuilder text = new StringBuilder();
    text.append(head.method()).append(' ').append(head.target()).append(" HTTP/1.1\r\n");
    for (Header header : head.headers()) {
      String name = header.headerName().lowerCase();
      if (dropped.contains(name)) {
        continue;
      }
      if (name.equals("host") && target.maskedHost(port).isPresent()) {
        text.append("Host: ").append(target.maskedHost(port).get()).append("\r\n");
        continue;
      }
      for (String value : header.allValues()) {
        if (!target.isOurs(name, value)) {
          text.append(header.name()).append(": ").append(value).append("\r\n");
        }
      }
    }
    return GuestResponse.bytes(
        text.append(target.addedHeaders(port)).append(added).append("\r\n").toString());
  }
}
