package dev.forkd.http.proxy;

import dev.forkd.http.Head;
import dev.forkd.http.envd.RestFailure;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A port of a sandbox, as a request names it: by the first label of its host, {@code PORT-ID}, or,
 * where all share one host, by two headers.
 */
record Address(String id, int port) {
  static final HeaderName SANDBOX_ID = HeaderNames.create("e2b-sandbox-id");
  static final HeaderName SANDBOX_PORT = HeaderNames.create("e2b-sandbox-port");

  /** An id has no dash: {@code 10-0-0-5.example} is a host like any other. */
  private static final Pattern HOST = Pattern.compile("([0-9]{1,5})-([a-z0-9]{1,64})\\..+");

  private static final Pattern ID = Pattern.compile("[a-z0-9]{1,64}");
  private static final Pattern PORT = Pattern.compile("[0-9]{1,5}");

  /** Whether a request names one, rightly or not. */
  static boolean isMeantBy(Head head) {
    return byHost(head).isPresent()
        || head.header(SANDBOX_ID).isPresent()
        || head.header(SANDBOX_PORT).isPresent();
  }

  private static Optional<Matcher> byHost(Head head) {
    return head.header(HeaderNames.HOST)
        .map(host -> HOST.matcher(host.toLowerCase(Locale.ROOT)))
        .filter(Matcher::matches);
  }

  /**
   * The one that a request means.
   *
   * @throws RestFailure 400 when it is not one that can be
   */
  static Address of(Head head) {
    Optional<Matcher> host = byHost(head);
    if (host.isPresent()) {
      return of(host.get().group(2), host.get().group(1));
    }
    return of(
        head.header(SANDBOX_ID)
            .orElseThrow(() -> new RestFailure(400, "the header E2b-Sandbox-Id is missing")),
        head.header(SANDBOX_PORT)
            .orElseThrow(() -> new RestFailure(400, "the header E2b-Sandbox-Port is missing")));
  }

  private static Address of(String id, String port) {
    if (!ID.matcher(id).matches()) {
      throw new RestFailure(400, "the sandbox id is not lowercase letters and digits");
    }
    int number = PORT.matcher(port).matches() ? Integer.parseInt(port) : 0;
    if (number < 1 || number > 65535) {
      throw new RestFailure(400, "the port is not 1 to 65535");
    }
    return new Address(id, number);
  }
}
