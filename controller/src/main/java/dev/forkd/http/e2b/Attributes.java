package dev.forkd.http.e2b;

import dev.forkd.engine.HostedSpec;
import java.security.SecureRandom;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.Optional;

/** What this interface keeps with a hosted sandbox, by name. */
public final class Attributes {
  /** The template as it was asked for. */
  static final String TEMPLATE = "template";

  /** What requests to its ports must show. */
  static final String TRAFFIC_TOKEN = "traffic_token";

  /** The host that its servers are to see; {@code ${PORT}} in it stands for the port. */
  static final String MASK_HOST = "mask_host";

  private static final int TOKEN_BYTES = 20;
  private static final SecureRandom RANDOM = new SecureRandom();

  private Attributes() {}

  private static Optional<String> of(HostedSpec spec, String name) {
    return Optional.ofNullable(spec.attributes().get(name));
  }

  static Optional<String> template(HostedSpec spec) {
    return of(spec, TEMPLATE);
  }

  /** What requests to its ports must show; empty when they are open to everybody. */
  public static Optional<String> trafficToken(HostedSpec spec) {
    return of(spec, TRAFFIC_TOKEN);
  }

  /** The host that its servers are to see instead of the one that the client named. */
  public static Optional<String> maskHost(HostedSpec spec) {
    return of(spec, MASK_HOST);
  }

  /** Those of a fork: who may reach the ports of one may not therefore reach those of another. */
  static Map<String, String> ofFork(Map<String, String> source) {
    Map<String, String> own = new HashMap<>(source);
    own.computeIfPresent(TRAFFIC_TOKEN, (_, _) -> newToken());
    return own;
  }

  /** What nobody can guess. */
  static String newToken() {
    byte[] bytes = new byte[TOKEN_BYTES];
    RANDOM.nextBytes(bytes);
    return HexFormat.of().formatHex(bytes);
  }

  /** The environment of a sandbox: what its maker wants, and what tells programs where they are. */
  public static Map<String, String> environment(String id, HostedSpec spec) {
    Map<String, String> env = new HashMap<>(spec.env());
    env.putAll(environment(id, template(spec).orElse(spec.snapshot().value())));
    return env;
  }

  /** What tells programs where they are. */
  public static Map<String, String> environment(String id, String template) {
    return Map.of("E2B_SANDBOX", "true", "E2B_SANDBOX_ID", id, "E2B_TEMPLATE_ID", template);
  }
}
