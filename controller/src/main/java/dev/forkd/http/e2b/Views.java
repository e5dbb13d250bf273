package dev.forkd.http.e2b;

import dev.forkd.engine.HostedSpec;
import dev.forkd.engine.HostedView;
import dev.forkd.engine.Snapshot;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;

/** Hosted sandboxes as clients of E2B know them. */
final class Views {
  /** Of what we serve; clients use features by it. */
  static final String ENVD_VERSION = "0.6.13";

  /** Once the node that had it; clients still want one. */
  private static final String CLIENT_ID = "forkd";

  private final Optional<String> domain;

  Views(Optional<String> domain) {
    this.domain = domain;
  }

  Messages.Sandbox sandbox(HostedView view) {
    return new Messages.Sandbox(
        view.id(),
        template(view),
        Optional.empty(),
        CLIENT_ID,
        ENVD_VERSION,
        view.accessToken(),
        Attributes.trafficToken(view.spec()),
        domain);
  }

  private static String template(HostedView view) {
    return Attributes.template(view.spec()).orElse(view.spec().snapshot().value());
  }

  /** One of a list. */
  Messages.SandboxInfo info(HostedView view) {
    return info(view, false);
  }

  /** One by itself. */
  Messages.SandboxInfo detail(HostedView view) {
    return info(view, true);
  }

  private Messages.SandboxInfo info(HostedView view, boolean detail) {
    HostedSpec spec = view.spec();
    return new Messages.SandboxInfo(
        view.id(),
        template(view),
        Optional.empty(),
        CLIENT_ID,
        time(view.started()),
        time(view.end()),
        view.paused() ? "paused" : "running",
        view.cpuCount(),
        view.memoryMib(),
        view.diskMib(),
        ENVD_VERSION,
        spec.metadata(),
        detail ? view.accessToken() : Optional.empty(),
        detail ? domain : Optional.empty(),
        detail ? Optional.of(false) : Optional.empty(),
        detail ? Optional.of(network(spec)) : Optional.empty(),
        detail
            ? Optional.of(
                new Messages.Lifecycle(
                    spec.atEnd() == HostedSpec.AtEnd.KILL ? "kill" : "pause", spec.resumesBySelf()))
            : Optional.empty(),
        detail && view.paused()
            ? Optional.of(view.pausedDisk() ? "filesystem" : "full")
            : Optional.empty());
  }

  private static Map<String, Object> network(HostedSpec spec) {
    Map<String, Object> network = new LinkedHashMap<>();
    network.put("allowPublicTraffic", Attributes.trafficToken(spec).isEmpty());
    Attributes.maskHost(spec).ifPresent(host -> network.put("maskRequestHost", host));
    return network;
  }

  /** Nobody builds templates through this interface: of builds there is one, which is ready. */
  static Messages.Template template(Snapshot snapshot) {
    String tag = snapshot.tag().value();
    String created = time(Instant.ofEpochSecond(snapshot.createdAtUnix()));
    return new Messages.Template(
        tag,
        UUID.nameUUIDFromBytes((tag + created).getBytes(StandardCharsets.UTF_8)).toString(),
        1,
        snapshot.memoryMib(),
        snapshot.diskMib(),
        false,
        List.of(tag),
        List.of(tag),
        created,
        created,
        Optional.empty(),
        Optional.empty(),
        0,
        1,
        ENVD_VERSION,
        "ready");
  }

  static String time(Instant instant) {
    return instant.truncatedTo(ChronoUnit.MILLIS).toString();
  }
}
