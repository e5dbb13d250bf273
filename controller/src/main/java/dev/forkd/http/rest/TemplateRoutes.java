package dev.forkd.http.rest;

import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.api.Tag;
import dev.forkd.api.rest.CreateTemplate;
import dev.forkd.api.rest.TemplateLine;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.http.Exchange;
import dev.forkd.http.Failures;
import dev.forkd.http.NdjsonStream;
import dev.forkd.http.Route;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Templates: bake one while its progress is told. */
final class TemplateRoutes {
  private static final Duration DEFAULT_BOOT_TIMEOUT = Duration.ofMinutes(2);

  /** Debian policy 5.6.1. */
  private static final Pattern PACKAGE = Pattern.compile("[a-z0-9][a-z0-9+.-]{1,127}");

  private static final int PACKAGES_MAX = 1000;
  private static final int STEPS_MAX = 1000;

  private final ForkdEngine engine;

  TemplateRoutes(ForkdEngine engine) {
    this.engine = engine;
  }

  List<Route> routes() {
    return List.of(new Route("POST", "/v1/templates", this::bake));
  }

  /** The answer begins with the first line of progress; what fails before has its own status. */
  private void bake(Exchange exchange) {
    TemplateSpec spec = spec(exchange.body(CreateTemplate.class));
    Progress progress = new Progress(exchange);
    TemplateLine last;
    try {
      Snapshot snapshot = engine.bake(spec, progress::line);
      last = TemplateLine.snapshot(Views.snapshot(snapshot));
    } catch (ForkdException e) {
      if (!progress.begun()) {
        throw e;
      }
      Failures.Rendered failure = Failures.render(e, exchange.requestId());
      last = TemplateLine.failed(failure.code().wireName(), failure.message());
    }
    progress.end(last);
  }

  private static final class Progress {
    private final Exchange exchange;
    private Optional<NdjsonStream> lines = Optional.empty();

    Progress(Exchange exchange) {
      this.exchange = exchange;
    }

    boolean begun() {
      return lines.isPresent();
    }

    private NdjsonStream lines() {
      if (lines.isEmpty()) {
        lines = Optional.of(exchange.ndjson(200));
      }
      return lines.get();
    }

    void line(String text) {
      lines().line(TemplateLine.progress(text));
    }

    void end(TemplateLine last) {
      lines().line(last);
      lines().close();
    }
  }

  private static TemplateSpec spec(CreateTemplate body) {
    if (body.run().size() + body.warm().size() > STEPS_MAX) {
      throw Checks.invalid("run and warm have more than " + STEPS_MAX + " steps");
    }
    body.run().forEach(command -> Checks.noNul("run", command));
    if (body.packages().isEmpty() && body.ociLayout().isEmpty() && body.rootfs().isEmpty()) {
      return known(body);
    }
    return new TemplateSpec(
            new Tag(body.tag()),
            source(body),
            body.kernel().map(kernel -> SnapshotRoutes.hostFile("kernel", kernel)),
            memoryMib(body, TemplateSpec.DEFAULT_MEMORY_MIB),
            diskMib(body, TemplateSpec.DEFAULT_DISK_MIB),
            body.run(),
            body.warm(),
            bootTimeout(body),
            body.replace())
        .refreshing(body.refresh());
  }

  private static int memoryMib(CreateTemplate body, int otherwise) {
    return Math.toIntExact(
        Checks.inRange("memory_mib", body.memoryMib().orElse(otherwise), 128, 65536));
  }

  private static int diskMib(CreateTemplate body, int otherwise) {
    return Math.toIntExact(
        Checks.inRange("disk_mib", body.diskMib().orElse(otherwise), 256, 1048576));
  }

  private static Duration bootTimeout(CreateTemplate body) {
    return Duration.ofSeconds(
        Checks.inRange(
            "boot_timeout_secs",
            body.bootTimeoutSecs().orElse(DEFAULT_BOOT_TIMEOUT.toSeconds()),
            1,
            600));
  }

  /** As forkd knows it, with what was asked for beside that. */
  private static TemplateSpec known(CreateTemplate body) {
    KnownTemplate known =
        KnownTemplate.find(body.tag())
            .orElseThrow(() ->
                Checks.invalid(
                    "send exactly one of packages, oci_layout and rootfs; without any the tag must"
                        + " be one of "
                        + KnownTemplate.all().stream()
                            .map(one -> one.tag().value())
                            .collect(Collectors.joining(", "))));
    TemplateSpec plain = TemplateSpec.of(known);
    return new TemplateSpec(
        plain.tag(),
        plain.source(),
        body.kernel().map(kernel -> SnapshotRoutes.hostFile("kernel", kernel)),
        memoryMib(body, plain.memoryMib()),
        diskMib(body, plain.diskMib()),
        Stream.concat(plain.runCommands().stream(), body.run().stream()).toList(),
        body.warm(),
        plain.known(),
        body.bootTimeoutSecs().isPresent() ? bootTimeout(body) : plain.bootTimeout(),
        body.replace(),
        body.refresh());
  }

  private static TemplateSpec.Source source(CreateTemplate body) {
    int sources =
        (body.packages().isPresent() ? 1 : 0)
            + (body.ociLayout().isPresent() ? 1 : 0)
            + (body.rootfs().isPresent() ? 1 : 0);
    if (sources != 1) {
      throw Checks.invalid(
          "send exactly one of packages, oci_layout and rootfs; " + sources + " were sent");
    }
    if (body.ociLayout().isPresent()) {
      return new TemplateSpec.Source.OciLayout(
          SnapshotRoutes.hostFile("oci_layout", body.ociLayout().get()));
    }
    if (body.rootfs().isPresent()) {
      return new TemplateSpec.Source.RootFile(
          SnapshotRoutes.hostFile("rootfs", body.rootfs().get()));
    }
    List<String> packages = body.packages().orElse(List.of());
    if (packages.size() > PACKAGES_MAX) {
      throw Checks.invalid("packages has more than " + PACKAGES_MAX + " names");
    }
    for (String name : packages) {
      if (!PACKAGE.matcher(name).matches()) {
        throw Checks.invalid("'" + name + "' is not the name of a Debian package");
      }
    }
    return new TemplateSpec.Source.Packages(packages);
  }
}
