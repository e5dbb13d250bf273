package dev.forkd.http.e2b;

import dev.forkd.api.ForkdException;
import dev.forkd.engine.HostedSandboxes;
import dev.forkd.engine.HostedView;
import dev.forkd.engine.LogEntry;
import dev.forkd.engine.LogEntry.Level;
import dev.forkd.engine.UsageSample;
import dev.forkd.http.Exchange;
import dev.forkd.http.Route;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Predicate;
import tools.jackson.databind.json.JsonMapper;

/** What happened to sandboxes, and what they used. */
final class HistoryControl {
  private static final JsonMapper JSON = JsonMapper.shared();
  private static final int LOGS_MAX = 1000;
  private static final int METRICS_IDS_MAX = 100;

  private final HostedSandboxes hosted;

  HistoryControl(HostedSandboxes hosted) {
    this.hosted = hosted;
  }

  List<Route> routes() {
    return List.of(
        new Route("GET", "/sandboxes/metrics", this::metricsOfMany),
        new Route("GET", "/sandboxes/{id}/metrics", this::metrics),
        new Route("GET", "/sandboxes/{id}/logs", this::firstLogs),
        new Route("GET", "/v2/sandboxes/{id}/logs", this::logs));
  }

  private void metrics(Exchange exchange) {
    HostedView view = hosted.get(SandboxControl.id(exchange));
    long start = number(exchange, "start", 0, Long.MAX_VALUE).orElse(0L);
    long end = number(exchange, "end", 0, Long.MAX_VALUE).orElse(Long.MAX_VALUE);
    Messages.write(
        exchange,
        200,
        hosted.usage(view.id()).stream()
            .map(HistoryControl::metric)
            .filter(metric -> metric.timestampUnix() >= start && metric.timestampUnix() <= end)
            .toList());
  }

  private void metricsOfMany(Exchange exchange) {
    Map<String, Messages.Metric> found = new LinkedHashMap<>();
    String[] ids = exchange.query("sandbox_ids").orElse("").split(",");
    if (ids.length > METRICS_IDS_MAX) {
      throw Listing.invalid("sandbox_ids has more than " + METRICS_IDS_MAX);
    }
    for (String id : ids) {
      newest(id).ifPresent(sample -> found.put(id, metric(sample)));
    }
    Messages.write(exchange, 200, Map.of("sandboxes", found));
  }

  /** Empty for one that is unknown, or paused and uses nothing, or cannot tell. */
  private Optional<UsageSample> newest(String id) {
    try {
      return hosted.get(id).paused()
          ? Optional.empty()
          : hosted.usage(id).reversed().stream().findFirst();
    } catch (ForkdException e) {
      // It must not hide what the others use; asked for alone, it says why.
      return Optional.empty();
    }
  }

  private static Messages.Metric metric(UsageSample sample) {
    return new Messages.Metric(
        Views.time(sample.time()),
        sample.time().getEpochSecond(),
        sample.usage().cpuCount(),
        sample.usage().cpuPercent(),
        sample.usage().memoryUsedBytes(),
        sample.usage().memoryTotalBytes(),
        sample.usage().memoryCacheBytes(),
        sample.usage().diskUsedBytes(),
        sample.usage().diskTotalBytes());
  }

  /** The first generation: lines that are JSON themselves, from a time on. */
  private void firstLogs(Exchange exchange) {
    Predicate<LogEntry> wanted = since(number(exchange, "start", 0, Long.MAX_VALUE).orElse(0L));
    List<LogEntry> entries =
        hosted.log(SandboxControl.id(exchange)).stream()
            .filter(wanted)
            .limit(limit(exchange))
            .toList();
    Messages.write(
        exchange,
        200,
        new Messages.FirstLogs(
            entries.stream().map(HistoryControl::line).toList(),
            entries.stream().map(HistoryControl::entry).toList()));
  }

  private void logs(Exchange exchange) {
    Optional<Long> cursor = number(exchange, "cursor", 0, Long.MAX_VALUE);
    boolean backward =
        switch (exchange.query("direction").orElse("forward")) {
          case "forward" -> false;
          case "backward" -> true;
          default -> throw Listing.invalid("direction must be forward or backward");
        };
    Level least = exchange.query("level").map(HistoryControl::level).orElse(Level.DEBUG);
    String words = exchange.query("search").orElse("");
    Predicate<LogEntry> wanted =
        backward ? upTo(cursor.orElse(Long.MAX_VALUE)) : since(cursor.orElse(0L));
    List<LogEntry> log = hosted.log(SandboxControl.id(exchange));
    Messages.write(
        exchange,
        200,
        new Messages.Logs(
            (backward ? log.reversed() : log)
                .stream()
                    .filter(wanted)
                    .filter(entry -> entry.level().compareTo(least) >= 0)
                    .filter(entry -> entry.message().contains(words))
                    .limit(limit(exchange))
                    .map(HistoryControl::entry)
                    .toList()));
  }

  private static Predicate<LogEntry> since(long unixMillis) {
    return entry -> entry.time().toEpochMilli() >= unixMillis;
  }

  private static Predicate<LogEntry> upTo(long unixMillis) {
    return entry -> entry.time().toEpochMilli() <= unixMillis;
  }

  private static Level level(String name) {
    return Arrays.stream(Level.values())
        .filter(level -> wire(level).equals(name.toLowerCase(Locale.ROOT)))
        .findFirst()
        .orElseThrow(() -> Listing.invalid("level must be debug, info, warn or error"));
  }

  private static String wire(Level level) {
    return level.name().toLowerCase(Locale.ROOT);
  }

  private static long limit(Exchange exchange) {
    return number(exchange, "limit", 0, LOGS_MAX).orElse((long) LOGS_MAX);
  }

  private static Optional<Long> number(Exchange exchange, String name, long min, long max) {
    return exchange
        .query(name)
        .filter(text -> !text.isEmpty())
        .map(text -> {
          try {
            long number = Long.parseLong(text);
            if (number >= min && number <= max) {
              return number;
            }
          } catch (NumberFormatException e) {
            // Told below.
          }
          throw Listing.invalid(
              name
                  + " must be a whole number from "
                  + min
                  + (max == Long.MAX_VALUE ? "" : " to " + max)
                  + ", not '"
                  + text.substring(0, Math.min(text.length(), 40))
                  + "'");
        });
  }

  private static Messages.LogLine line(LogEntry entry) {
    Map<String, String> line = fields(entry);
    line.put("level", wire(entry.level()));
    line.put("message", entry.message());
    return new Messages.LogLine(entry.time().toString(), JSON.writeValueAsString(line));
  }

  private static Messages.LogEntry entry(LogEntry entry) {
    return new Messages.LogEntry(
        entry.time().toString(), wire(entry.level()), entry.message(), fields(entry));
  }

  private static Map<String, String> fields(LogEntry entry) {
    Map<String, String> fields = new LinkedHashMap<>(entry.fields());
    fields.put("logger", entry.logger());
    return fields;
  }
}
