package dev.forkd.http.envd;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.GuestUsage;
import dev.forkd.http.Exchange;
import dev.forkd.http.Limits;
import dev.forkd.http.connect.ConnectServer;
import io.helidon.http.HeaderNames;
import java.time.InstantSource;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** All that is at the port that clients know as their sandbox's own. */
public final class Envd implements AutoCloseable {
  /** The port. */
  public static final int PORT = 49983;

  /** Where it is asked whether the sandbox is there. */
  public static final String HEALTH = "/health";

  static final String FILES = "/files";

  private final FilesystemService files = new FilesystemService(System::nanoTime);
  private final ConnectServer<Guest> connect =
      new ConnectServer<>(List.of(ProcessService.service(), files.service()), Limits.REQUESTS_MAX);
  private final InstantSource clock;

  public Envd(InstantSource clock) {
    this.clock = clock;
  }

  /**
   * Answers a request that may be answered.
   *
   * @return a name for metrics
   */
  public String serve(Exchange exchange, Guest guest) {
    String route = exchange.method() + " " + exchange.rawPath();
    switch (route) {
      case "GET /health" -> exchange.empty(204);
      case "GET /metrics" -> exchange.json(200, metrics(guest.engine().usage(guest.sandbox())));
      case "GET /envs" -> exchange.json(200, guest.env());
      case "GET /files" -> Downloads.serve(exchange, guest);
      case "POST /files" -> Uploads.serve(exchange, guest);
      default -> {
        if (isProcedure(exchange.rawPath())) {
          return connect.serve(exchange, guest);
        }
        exchange.header(HeaderNames.CACHE_CONTROL, "no-store");
        throw new ForkdException(ErrorCode.NOT_FOUND, "there is no " + route);
      }
    }
    return route;
  }

  /** As {@code /package.Service/Method}. */
  private static boolean isProcedure(String path) {
    int slash = path.indexOf('/', 1);
    return slash > 0 && path.substring(0, slash).contains(".");
  }

  /** Whether a request opens something that lasts until one side ends it. */
  public static boolean lasts(Exchange exchange) {
    return isProcedure(exchange.rawPath())
        && exchange
            .header(HeaderNames.CONTENT_TYPE)
            .filter(type -> type.startsWith("application/connect+"))
            .isPresent();
  }

  @Override
  public void close() {
    files.close();
  }

  private Map<String, Object> metrics(GuestUsage usage) {
    Map<String, Object> metrics = new LinkedHashMap<>();
    metrics.put("ts", clock.instant().getEpochSecond());
    metrics.put("cpu_count", usage.cpuCount());
    metrics.put("cpu_used_pct", usage.cpuPercent());
    metrics.put("mem_total", usage.memoryTotalBytes());
    metrics.put("mem_used", usage.memoryUsedBytes());
    metrics.put("mem_cache", usage.memoryCacheBytes());
    metrics.put("mem_total_mib", usage.memoryTotalBytes() >> 20);
    metrics.put("mem_used_mib", usage.memoryUsedBytes() >> 20);
    metrics.put("disk_used", usage.diskUsedBytes());
    metrics.put("disk_total", usage.diskTotalBytes());
    return metrics;
  }
}
