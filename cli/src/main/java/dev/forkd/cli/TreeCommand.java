package dev.forkd.cli;

import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Snapshot;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Draws who came from whom. */
@Command(name = "tree", description = "draw the lineage of snapshots and sandboxes")
final class TreeCommand extends DaemonCommand {
  /** A snapshot or sandbox for programs. */
  record Entry(String kind, String name, Optional<String> parent) {}

  @Option(names = "--json", description = "print names and parents as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    List<SnapshotInfo> snapshots = forkd.snapshots().stream().map(Snapshot::info).toList();
    List<SandboxInfo> sandboxes = Sandboxes.of(forkd);
    if (json) {
      printJson(
          nodes(snapshots, sandboxes).stream()
              .map(node ->
                  new Entry(
                      node.key().startsWith("s:") ? "snapshot" : "sandbox",
                      node.key().substring(2),
                      node.parent().map(key -> key.substring(2))))
              .toList());
    } else {
      LineageTree.render(nodes(snapshots, sandboxes)).forEach(out()::println);
    }
    return 0;
  }

  /** A tag and an id may be the same word, so keys say which they are: {@code s:} or {@code b:}. */
  static List<LineageTree.Node> nodes(List<SnapshotInfo> snapshots, List<SandboxInfo> sandboxes) {
    Set<String> alive =
        sandboxes.stream().map(SandboxInfo::id).collect(Collectors.toCollection(HashSet::new));
    List<LineageTree.Node> nodes = new ArrayList<>();
    for (SnapshotInfo snapshot : snapshots) {
      // When the branched sandbox is gone, the snapshot hangs under what that was forked from.
      Optional<String> parent =
          snapshot
              .branchedFrom()
              .filter(alive::contains)
              .map(id -> "b:" + id)
              .or(() -> snapshot.sourceTag().map(tag -> "s:" + tag));
      nodes.add(new LineageTree.Node("s:" + snapshot.tag(), parent, label(snapshot)));
    }
    for (SandboxInfo sandbox : sandboxes) {
      nodes.add(
          new LineageTree.Node(
              "b:" + sandbox.id(), Optional.of("s:" + sandbox.snapshotTag()), label(sandbox)));
    }
    return nodes;
  }

  private static String label(SnapshotInfo snapshot) {
    StringBuilder text =
        new StringBuilder(snapshot.template() ? "▣ " : "◆ ").append(snapshot.tag());
    text.append(snapshot.template() ? "  template" : "  snapshot");
    if (!snapshot.status().equals("ready")) {
      text.append(", ").append(snapshot.status());
    }
    snapshot.pauseMs().ifPresent(ms -> text.append(", paused ").append(ms).append(" ms"));
    snapshot
        .diffPhysicalBytes()
        .ifPresent(bytes -> text.append(", ").append(Format.bytes(bytes)).append(" diverged"));
    return text.toString();
  }

  private static String label(SandboxInfo sandbox) {
    StringBuilder text = new StringBuilder("● ").append(sandbox.id());
    text.append("  ").append(sandbox.state());
    sandbox
        .divergedBytes()
        .ifPresent(bytes -> text.append(", ").append(Format.bytes(bytes)).append(" of its own"));
    return text.toString();
  }
}
