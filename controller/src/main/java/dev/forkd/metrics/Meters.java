package dev.forkd.metrics;

import dev.forkd.engine.EngineStats;
import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.binder.jvm.JvmMemoryMetrics;
import io.micrometer.core.instrument.binder.system.UptimeMetrics;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import java.time.Duration;
import java.util.function.LongSupplier;

/**
 * Every meter of the daemon by name. No sandbox id is ever a label: there may be any number of
 * them.
 */
public final class Meters implements AutoCloseable {
  /** What {@code GET /metrics} answers. */
  public static final String CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

  private static final Duration[] BUCKETS = {
    Duration.ofMillis(1),
    Duration.ofMillis(2),
    Duration.ofMillis(5),
    Duration.ofMillis(10),
    Duration.ofMillis(25),
    Duration.ofMillis(50),
    Duration.ofMillis(100),
    Duration.ofMillis(250),
    Duration.ofMillis(500),
    Duration.ofSeconds(1),
    Duration.ofMillis(2500),
    Duration.ofSeconds(5),
    Duration.ofSeconds(10),
    Duration.ofSeconds(30),
    Duration.ofSeconds(60)
  };

  private final PrometheusMeterRegistry registry =
      new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
  private final Timer fork =
      histogram("forkd.fork", "A fork request, from its body read to all its children made.");
  private final Counter childrenStarted =
      Counter.builder("forkd.fork.children")
          .description("Children of forks by outcome.")
          .tag("outcome", "started")
          .register(registry);
  private final Counter childrenFailed =
      Counter.builder("forkd.fork.children")
          .description("Children of forks by outcome.")
          .tag("outcome", "failed")
          .register(registry);
  private final Timer branchPause =
      histogram("forkd.branch.pause", "How long the source of a branch stood still.");
  private final Timer exec = histogram("forkd.exec", "A command in a sandbox, as asked by exec.");
  private final Timer eval = histogram("forkd.eval", "An evaluation in a warm interpreter.");
  private final String version;
  // Held here: the library keeps its sources weakly.
  private volatile LongSupplier auditFailures = () -> 0;

  public Meters(String version) {
    this.version = version;
    new UptimeMetrics().bindTo(registry);
    new JvmMemoryMetrics().bindTo(registry);
    FunctionCounter.builder(
            "forkd.audit.failures", this, meters -> meters.auditFailures.getAsLong())
        .description("Failures to write the audit log.")
        .register(registry);
  }

  private Timer histogram(String name, String description) {
    return Timer.builder(name)
        .description(description)
        .serviceLevelObjectives(BUCKETS)
        .register(registry);
  }

  /** A fork ended. */
  public void forked(Duration took, long started, long failed) {
    fork.record(took);
    childrenStarted.increment((double) started);
    childrenFailed.increment((double) failed);
  }

  /** A branch let its source go on. */
  public void branchPaused(Duration pause) {
    branchPause.record(pause);
  }

  /** A command ended. */
  public void executed(Duration took) {
    exec.record(took);
  }

  /** An evaluation ended. */
  public void evaluated(Duration took) {
    eval.record(took);
  }

  /** Where to ask how often the audit log could not be written. */
  public void auditFailures(LongSupplier failures) {
    auditFailures = failures;
  }

  /**
   * A request was answered.
   *
   * @param route method and pattern, a closed set; never the path as sent
   */
  public void request(String route, int status, Duration took) {
    Timer.builder("forkd.http.request")
        .description("Requests by route and status.")
        .tag("route", route)
        .tag("status", Integer.toString(status))
        .register(registry)
        .record(took);
  }

  /**
   * The text for Prometheus. The five gauges that other forkd daemons have are written here, since
   * the library would change their names.
   */
  public String scrape(EngineStats stats) {
    StringBuilder text = new StringBuilder(8192);
    gauge(text, "forkd_snapshots_total", "Snapshots known.", "", stats.snapshots());
    gauge(text, "forkd_sandboxes_active", "Sandboxes alive.", "", stats.sandboxes());
    gauge(text, "forkd_branches_in_flight", "Branches being made.", "", stats.branchesInFlight());
    gauge(
        text,
        "forkd_branch_concurrency_cap",
        "Branches that may be made at once.",
        "",
        stats.branchConcurrencyCap());
    admission(text, stats.admission());
    gauge(text, "forkd_pool_ready", "Children that wait in pools.", "", stats.pool().ready());
    counter(text, "forkd_pool_hits_total", "Children taken from a pool.", stats.pool().hits());
    counter(
        text, "forkd_pool_misses_total", "Children a pool had not ready.", stats.pool().misses());
    gauge(text, "forkd_build_info", "Always 1.", "{version=\"" + version + "\"}", 1);
    return text.append(registry.scrape()).toString();
  }

  private static void admission(StringBuilder text, EngineStats.Admission now) {
    gauge(text, "forkd_admission_waiting", "Requests that wait for a core.", "", now.waiting());
    gauge(text, "forkd_admission_queue_cap", "Requests that may wait.", "", now.queueMax());
    gauge(text, "forkd_admission_turns", "Guests that have a turn.", "", now.turns());
    gauge(text, "forkd_admission_overtime", "Guests beyond their turn.", "", now.overtime());
    gauge(text, "forkd_admission_parked", "Guests with work that are paused.", "", now.parked());
    counter(
        text,
        "forkd_admission_rejected_total",
        "Requests refused because too many waited.",
        now.rejected());
    counter(
        text,
        "forkd_admission_expired_total",
        "Requests whose time passed while they waited.",
        now.expired());
    String name = "forkd_admission_wait_seconds";
    text.append("# HELP ").append(name).append(" How long requests waited for a core.\n");
    text.append("# TYPE ").append(name).append(" histogram\n");
    for (EngineStats.Bucket bucket : now.waits().buckets()) {
      text.append(name)
          .append("_bucket{le=\"")
          .append(bucket.upTo().toNanos() / 1e9)
          .append("\"} ")
          .append(bucket.count())
          .append('\n');
    }
    text.append(name).append("_bucket{le=\"+Inf\"} ").append(now.waits().count()).append('\n');
    text.append(name).append("_sum ").append(now.waits().sum().toNanos() / 1e9).append('\n');
    text.append(name).append("_count ").append(now.waits().count()).append('\n');
  }

  private static void counter(StringBuilder text, String name, String help, long value) {
    text.append("# HELP ").append(name).append(' ').append(help).append('\n');
    text.append("# TYPE ").append(name).append(" counter\n");
    text.append(name).append(' ').append(value).append('\n');
  }

  private static void gauge(
      StringBuilder text, String name, String help, String labels, long value) {
    text.append("# HELP ").append(name).append(' ').append(help).append('\n');
    text.append("# TYPE ").append(name).append(" gauge\n");
    text.append(name).append(labels).append(' ').append(value).append('\n');
  }

  @Override
  public void close() {
    registry.close();
  }
}
