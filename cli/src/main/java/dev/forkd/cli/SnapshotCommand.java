package dev.forkd.cli;

import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Snapshot;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Looks at snapshots. */
@Command(
    name = "snapshot",
    description = "list snapshots, or show one",
    mixinStandardHelpOptions = true,
    synopsisSubcommandLabel = "COMMAND",
    subcommands = {SnapshotCommand.Ls.class, SnapshotCommand.Info.class})
final class SnapshotCommand implements Runnable {
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public void run() {
    throw new CommandLine.ParameterException(spec.commandLine(), "which of ls and info?");
  }

  /** All of them. */
  @Command(name = "ls", description = "list templates and snapshots")
  static final class Ls extends DaemonCommand {
    @Option(names = "--json", description = "print them as JSON")
    private boolean json;

    @Override
    int run(Forkd forkd) {
      List<SnapshotInfo> snapshots = forkd.snapshots().stream().map(Snapshot::info).toList();
      if (json) {
        printJson(snapshots);
      } else {
        out().print(render(snapshots, Instant.now().getEpochSecond()));
      }
      return 0;
    }
  }

  /** One of them. */
  @Command(name = "info", description = "show one snapshot")
  static final class Info extends DaemonCommand {
    @Parameters(paramLabel = "TAG", description = "the snapshot")
    private String tag;

    @Option(names = "--json", description = "print it as JSON")
    private boolean json;

    @Override
    int run(Forkd forkd) {
      SnapshotInfo snapshot = forkd.snapshot(tag).info();
      if (json) {
        printJson(snapshot);
      } else {
        out().print(render(snapshot));
      }
      return 0;
    }
  }

  static String render(List<SnapshotInfo> snapshots, long nowUnix) {
    Table table = new Table("TAG", "KIND", "STATUS", "FROM", ">PAUSE", ">DIVERGED", "AGE");
    for (SnapshotInfo snapshot : snapshots) {
      table.row(
          snapshot.tag(),
          snapshot.template() ? "template" : "snapshot",
          snapshot.status(),
          snapshot.branchedFrom().orElse("-"),
          snapshot.pauseMs().isPresent() ? snapshot.pauseMs().getAsLong() + " ms" : "-",
          snapshot.diffPhysicalBytes().isPresent()
              ? Format.bytes(snapshot.diffPhysicalBytes().getAsLong())
              : "-",
          Format.age(snapshot.createdAtUnix(), nowUnix));
    }
    return table.render();
  }

  static String render(SnapshotInfo snapshot) {
    Map<String, String> lines = new LinkedHashMap<>();
    lines.put("tag", snapshot.tag());
    lines.put("kind", snapshot.template() ? "template" : "snapshot");
    lines.put("status", snapshot.status());
    lines.put("dir", snapshot.dir());
    lines.put("created", Instant.ofEpochSecond(snapshot.createdAtUnix()).toString());
    snapshot.branchedFrom().ifPresent(id -> lines.put("branched from", id));
    snapshot.sourceTag().ifPresent(source -> lines.put("made from", source));
    snapshot.parentTag().ifPresent(parent -> lines.put("parent", parent));
    snapshot.branchMode().ifPresent(mode -> lines.put("mode", mode));
    snapshot.pauseMs().ifPresent(ms -> lines.put("pause", ms + " ms"));
    snapshot.freezeMs().ifPresent(ms -> lines.put("freeze", ms + " ms"));
    snapshot.diffMs().ifPresent(ms -> lines.put("diff", ms + " ms"));
    snapshot.diffPhysicalBytes().ifPresent(n -> lines.put("diverged", Format.bytes(n)));
    lines.put("memory", snapshot.memoryMib() + " MiB");
    lines.put("memory on disk", Format.bytes(snapshot.memoryBytes()));
    lines.put("disk", Format.bytes(snapshot.diskBytes()));
    snapshot.warning().ifPresent(warning -> lines.put("warning", warning));
    StringBuilder text = new StringBuilder();
    lines.forEach(
        (name, value) -> text.append(String.format("%-20s%s%n", name, value.replace('\n', ' '))));
    return text.toString();
  }
}
