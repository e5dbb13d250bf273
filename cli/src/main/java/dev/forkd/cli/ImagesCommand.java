package dev.forkd.cli;

import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Snapshot;
import java.time.Instant;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** Shows what snapshots take on disk. */
@Command(name = "images", description = "show what templates and snapshots take on disk")
final class ImagesCommand extends DaemonCommand {
  @Option(names = "--json", description = "print them as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    List<SnapshotInfo> snapshots = forkd.snapshots().stream().map(Snapshot::info).toList();
    if (json) {
      printJson(snapshots);
    } else {
      out().print(render(snapshots));
    }
    return 0;
  }

  static String render(List<SnapshotInfo> snapshots) {
    Table table = new Table("TAG", ">SIZE", ">MEMORY", ">DISK", "CREATED");
    long total = 0;
    for (SnapshotInfo snapshot : snapshots) {
      long size = snapshot.memoryBytes() + snapshot.diskBytes();
      total += size;
      table.row(
          snapshot.tag(),
          Format.bytes(size),
          Format.bytes(snapshot.memoryBytes()),
          Format.bytes(snapshot.diskBytes()),
          Instant.ofEpochSecond(snapshot.createdAtUnix()));
    }
    return table.render() + "total " + Format.bytes(total) + "\n";
  }
}
