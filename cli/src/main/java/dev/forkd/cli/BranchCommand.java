package dev.forkd.cli;

import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.sdk.BranchOptions;
import dev.forkd.sdk.Forkd;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Saves a running sandbox as a snapshot. */
@Command(name = "branch", description = "save a running sandbox as a snapshot; it goes on")
final class BranchCommand extends DaemonCommand {
  @Parameters(index = "0", paramLabel = "ID", description = "the sandbox")
  private String id;

  @Parameters(
      index = "1",
      arity = "0..1",
      paramLabel = "TAG",
      description = "of the snapshot; made up when left out")
  private String positionalTag = "";

  @Option(names = "--tag", paramLabel = "TAG", description = "the same as an option")
  private String tag = "";

  @Option(
      names = "--full",
      description = "copy all of guest memory in the pause, not just what diverged")
  private boolean full;

  @Option(
      names = "--live",
      description = "copy memory while the sandbox runs on; the pause holds only device state")
  private boolean live;

  @Option(
      names = "--no-wait",
      description = "with --live: return when the sandbox runs on, before the snapshot is ready")
  private boolean noWait;

  @Option(names = "--measure-diff", description = "full, and report what a diff would have cost")
  private boolean measureDiff;

  @Option(
      names = "--parent",
      description = "make it a link of a chain: what the sandbox was forked from is its parent")
  private boolean parent;

  @Option(names = "--json", description = "print the snapshot as JSON")
  private boolean json;

  @Override
  int run(Forkd forkd) {
    String chosen = tag.isEmpty() ? positionalTag : tag;
    if ((full ? 1 : 0) + (live ? 1 : 0) + (measureDiff ? 1 : 0) > 1) {
      throw usage("--full, --live and --measure-diff exclude each other");
    }
    if (noWait && !live) {
      throw usage("--no-wait needs --live");
    }
    BranchOptions how = mode();
    if (noWait) {
      how = how.noWait();
    }
    if (parent) {
      how = how.withParent();
    }
    SnapshotInfo snapshot =
        forkd.sandbox(id).branch(chosen.isEmpty() ? how : how.tag(chosen)).info();
    if (json) {
      printJson(snapshot);
      return 0;
    }
    out().println(snapshot.tag());
    err().println("✓ " + describe(snapshot));
    snapshot.warning().ifPresent(warning -> err().println("⚠ " + warning));
    return 0;
  }

  private BranchOptions mode() {
    if (full) {
      return BranchOptions.full();
    }
    if (live) {
      return BranchOptions.live();
    }
    return measureDiff ? BranchOptions.measureDiff() : BranchOptions.diff();
  }

  static String describe(SnapshotInfo snapshot) {
    StringBuilder text = new StringBuilder("branched");
    snapshot.pauseMs().ifPresent(ms -> text.append(", paused ").append(ms).append(" ms"));
    snapshot
        .diffPhysicalBytes()
        .ifPresent(bytes -> text.append(", ").append(Format.bytes(bytes)).append(" diverged"));
    return text.toString();
  }
}
