package dev.forkd.cli;

import dev.forkd.api.rest.CertificateInfo;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.sdk.Forkd;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Shows all about one sandbox, with the proof that it is nobody's twin. */
@Command(name = "ps", description = "show one sandbox and its certificate")
final class PsCommand extends DaemonCommand {
  @Parameters(paramLabel = "ID", description = "the sandbox")
  private String id;

  @Option(names = "--json", description = "print it as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    SandboxInfo sandbox = forkd.sandbox(id).info();
    if (json) {
      printJson(sandbox);
    } else {
      out().print(render(sandbox));
    }
    return 0;
  }

  static String render(SandboxInfo sandbox) {
    Map<String, String> lines = new LinkedHashMap<>();
    lines.put("id", sandbox.id());
    lines.put("snapshot", sandbox.snapshotTag());
    lines.put("state", sandbox.state() + sandbox.failure().map(why -> ": " + why).orElse(""));
    lines.put("isolation", sandbox.isolation());
    lines.put("created", Instant.ofEpochSecond(sandbox.createdAtUnix()).toString());
    lines.put("pid", sandbox.pid().isPresent() ? sandbox.pid().getAsInt() + "" : "-");
    lines.put("memory", sandbox.memoryMib() + " MiB");
    lines.put("own memory", bytes(sandbox.divergedBytes()));
    lines.put(
        "memory limit",
        sandbox.memoryLimitMib().isPresent()
            ? sandbox.memoryLimitMib().getAsLong() + " MiB"
            : "none");
    lines.put("network", sandbox.netns().orElse("none"));
    lines.put("branches", sandbox.branchCount() + "");
    sandbox.certificate().ifPresent(proof -> describe(proof, lines));
    StringBuilder text = new StringBuilder();
    lines.forEach(
        (name, value) -> text.append(String.format("%-24s%s%n", name, value.replace('\n', ' '))));
    return text.toString();
  }

  private static void describe(CertificateInfo proof, Map<String, String> lines) {
    lines.put("certificate", proof.state() + proof.failure().map(why -> ": " + why).orElse(""));
    put(lines, "  epoch", proof.epoch());
    put(lines, "  hostname", proof.hostname());
    put(lines, "  machine id", proof.machineId());
    put(lines, "  random sha256", proof.randomSha256());
    put(lines, "  interpreter sha256", proof.interpreterSha256());
    put(lines, "  clock offset", millis(proof.clockOffsetMs()));
    put(lines, "  clock error at most", millis(proof.clockErrorMaxMs()));
    put(lines, "  handshake", millis(proof.handshakeMs()));
    if (proof.verifiedAtUnixMs().isPresent()) {
      lines.put(
          "  verified", Instant.ofEpochMilli(proof.verifiedAtUnixMs().getAsLong()).toString());
    }
  }

  private static void put(Map<String, String> lines, String name, Optional<String> value) {
    value.ifPresent(text -> lines.put(name, text));
  }

  private static Optional<String> millis(OptionalLong value) {
    return value.isPresent() ? Optional.of(value.getAsLong() + " ms") : Optional.empty();
  }

  private static String bytes(OptionalLong value) {
    return value.isPresent() ? Format.bytes(value.getAsLong()) : "-";
  }
}
