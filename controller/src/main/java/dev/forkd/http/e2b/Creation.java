package dev.forkd.http.e2b;

import dev.forkd.api.ForkdException;
import dev.forkd.engine.HostedSpec;
import dev.forkd.http.e2b.Messages.CreateSandbox;
import dev.forkd.http.e2b.Messages.Network;
import java.net.Inet4Address;
import java.net.InetAddress;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;

/** What a client wants of a new sandbox, checked. What is not offered is refused, not ignored. */
final class Creation {
  private static final Pattern ENV_NAME = Pattern.compile("[^=\\x00]{1,256}");
  private static final int ENV_CHARS_MAX = 128 << 10;
  private static final int METADATA_CHARS_MAX = 64 << 10;

  private Creation() {}

  /**
   * The sandbox to make.
   *
   * @param secured what holds when the client does not say
   */
  static HostedSpec spec(
      CreateSandbox wish, Templates templates, Duration defaultTimeout, boolean secured) {
    String template = wish.templateID().orElseThrow(() -> Listing.invalid("templateID is missing"));
    requireOffered(wish);
    Map<String, String> metadata = wish.metadata().orElse(Map.of());
    Map<String, String> env = wish.envVars().orElse(Map.of());
    bounded("metadata", metadata, METADATA_CHARS_MAX);
    bounded("envVars", env, ENV_CHARS_MAX);
    env.forEach((name, value) -> {
      if (!ENV_NAME.matcher(name).matches() || value.indexOf('\0') >= 0) {
        throw Listing.invalid("envVars has '" + name + "', which cannot be in an environment");
      }
    });
    boolean resumes = wish.autoResume().map(Messages.AutoResume::enabled).orElse(false);
    HostedSpec.AtEnd atEnd = atEnd(wish, resumes);
    return new HostedSpec(
        templates.require(template),
        wish.timeout().isPresent()
            ? Duration.ofSeconds(Math.max(0, wish.timeout().getAsLong()))
            : defaultTimeout,
        metadata,
        env,
        attributes(template, wish.network()),
        atEnd,
        resumes,
        wish.secure().orElse(secured));
  }

  private static HostedSpec.AtEnd atEnd(CreateSandbox wish, boolean resumes) {
    boolean memory = wish.autoPauseMemory().orElse(true);
    if (!memory && (!wish.autoPause() || resumes)) {
      throw Listing.invalid(
          "autoPauseMemory false needs autoPause, and cannot go with autoResume: what has no"
              + " memory is not resumed by a request");
    }
    if (!wish.autoPause()) {
      return HostedSpec.AtEnd.KILL;
    }
    return memory ? HostedSpec.AtEnd.PAUSE : HostedSpec.AtEnd.PAUSE_DISK;
  }

  private static void requireOffered(CreateSandbox wish) {
    if (wish.volumeMounts().filter(mounts -> !mounts.isEmpty()).isPresent()) {
      throw Listing.invalid("volumeMounts: this server has no volumes");
    }
    if (wish.mcp().isPresent()) {
      throw Listing.invalid("mcp: this server has no MCP gateway for sandboxes");
    }
    if (wish.iam().isPresent()) {
      throw Listing.invalid("iam: this server makes no identity tokens");
    }
    wish.network().ifPresent(Creation::requireOffered);
  }

  /** Guests have no network, so all that forbids something holds; nothing can be allowed. */
  static void requireOffered(Network network) {
    if (network.allowOut().filter(list -> !list.isEmpty()).isPresent()
        || network.rules().filter(rules -> !rules.equals(Map.of())).isPresent()
        || network.egressProxy().isPresent()) {
      throw Listing.invalid(
          "network: sandboxes of this server have no way out, so allowOut, rules and egressProxy"
              + " cannot be met; denyOut and allow_internet_access false hold as they are");
    }
    if (network.httpsPorts().filter(ports -> !ports.isEmpty()).isPresent()) {
      throw Listing.invalid(
          "network.httpsPorts: this server speaks plain HTTP to the ports of sandboxes; serve it"
              + " there, clients reach it by TLS all the same when the server runs with --tls");
    }
    network.denyOut().orElse(List.of()).forEach(entry -> requireRange("denyOut", entry));
    network
        .dnsServers()
        .orElse(List.of())
        .forEach(entry -> {
          if (!(address("dnsServers", entry) instanceof Inet4Address)) {
            throw Listing.invalid("network.dnsServers has '" + entry + "', which is not IPv4");
          }
        });
  }

  private static void requireRange(String field, String entry) {
    int slash = entry.indexOf('/');
    InetAddress address = address(field, slash < 0 ? entry : entry.substring(0, slash));
    if (slash >= 0 && !isPrefix(entry.substring(slash + 1), address.getAddress().length * 8)) {
      throw noAddress(field, entry);
    }
  }

  private static boolean isPrefix(String text, int bitsMax) {
    return text.matches("[0-9]{1,3}") && Integer.parseInt(text) <= bitsMax;
  }

  private static InetAddress address(String field, String text) {
    try {
      return InetAddress.ofLiteral(text);
    } catch (IllegalArgumentException e) {
      throw noAddress(field, text);
    }
  }

  private static ForkdException noAddress(String field, String text) {
    return Listing.invalid(
        "network."
            + field
            + " has '"
            + (text.length() > 100 ? text.substring(0, 100) + "…" : text)
            + "', which is no IP address"
            + (field.equals("denyOut") ? " and no range of them, such as 10.0.0.0/8" : ""));
  }

  private static void bounded(String what, Map<String, String> words, int charsMax) {
    long chars =
        words.entrySet().stream()
            .mapToLong(word -> (long) word.getKey().length() + word.getValue().length())
            .sum();
    if (chars > charsMax) {
      throw Listing.invalid(what + " has " + chars + " characters; at most " + charsMax);
    }
  }

  private static Map<String, String> attributes(String template, Optional<Network> network) {
    Map<String, String> attributes = new HashMap<>();
    attributes.put(Attributes.TEMPLATE, SnapshotNames.withoutDefault(template));
    network
        .flatMap(Network::allowPublicTraffic)
        .filter(open -> !open)
        .ifPresent(_ -> attributes.put(Attributes.TRAFFIC_TOKEN, Attributes.newToken()));
    network
        .flatMap(Network::maskRequestHost)
        .ifPresent(host -> {
          if (host.isEmpty()
              || host.length() > 255
              || List.of("\r", "\n", "\0", " ").stream().anyMatch(host::contains)) {
            throw Listing.invalid("network.maskRequestHost is no host name");
          }
          attributes.put(Attributes.MASK_HOST, host);
        });
    return attributes;
  }
}
