package dev.forkd.cli;

import dev.forkd.api.rest.SnapshotInfoDetail;
import dev.forkd.sdk.Forkd;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Shows what a snapshot takes, and its place in a chain. */
@Command(
    name = "snapshot-info",
    description = "show what a snapshot takes on disk, what it stands on and what stands on it")
final class SnapshotInfoCommand extends DaemonCommand {
  @Parameters(paramLabel = "TAG", description = "the snapshot")
  private String tag;

  @Option(names = "--json", description = "print it as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    SnapshotInfoDetail detail = forkd.snapshot(tag).detail();
    if (json) {
      printJson(detail);
    } else {
      out().print(render(detail));
    }
    return 0;
  }

  static String render(SnapshotInfoDetail detail) {
    Map<String, String> lines = new LinkedHashMap<>();
    lines.put("tag", detail.tag());
    lines.put("dir", detail.dir());
    detail
        .createdAtUnix()
        .ifPresent(at -> lines.put("created", Instant.ofEpochSecond(at).toString()));
    lines.put("memory", Format.bytes(detail.memoryLogicalBytes()));
    lines.put(
        "memory on disk", ownAndShared(detail.memoryPhysicalBytes(), detail.memorySharedBytes()));
    lines.put("disk", ownAndShared(detail.diskOwnBytes(), detail.diskSharedBytes()));
    lines.put("device state", Format.bytes(detail.vmstateBytes()));
    detail.contentHash().ifPresent(hash -> lines.put("content hash", hash));
    detail.parentTag().ifPresent(parent -> lines.put("parent", parent));
    detail.parentContentHash().ifPresent(hash -> lines.put("parent's hash", hash));
    lines.put("chain depth", Integer.toString(detail.chainDepth()));
    if (!detail.ancestors().isEmpty()) {
      lines.put("ancestors", String.join(" → ", detail.ancestors()));
    }
    if (!detail.dependents().isEmpty()) {
      lines.put("dependents", String.join(", ", detail.dependents()));
    }
    StringBuilder text = new StringBuilder();
    lines.forEach((name, value) -> text.append(String.format("%-20s%s%n", name, value)));
    return text.toString();
  }

  private static String ownAndShared(long own, long shared) {
    return Format.bytes(own) + " of its own, " + Format.bytes(shared) + " shared";
  }
}
