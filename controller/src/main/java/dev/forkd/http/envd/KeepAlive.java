package dev.forkd.http.envd;

import dev.forkd.http.Head;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.time.Duration;
import java.util.regex.Pattern;

/** After how much silence a client wants a sign of life. */
final class KeepAlive {
  private static final HeaderName INTERVAL = HeaderNames.create("keepalive-ping-interval");
  private static final Duration DEFAULT = Duration.ofSeconds(90);
  private static final Pattern SECONDS = Pattern.compile("[1-9][0-9]{0,4}");

  private KeepAlive() {}

  static Duration of(Head head) {
    return head.header(INTERVAL)
        .filter(text -> SECONDS.matcher(text).matches())
        .map(text -> Duration.ofSeconds(Long.parseLong(text)))
        .orElse(DEFAULT);
  }
}
