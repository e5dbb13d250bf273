package dev.forkd.local;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.branch.Brancher;
import dev.forkd.engine.BranchSpec;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.GuestUsage;
import dev.forkd.engine.Snapshot;
import dev.forkd.fork.Zygotes;
import dev.forkd.guest.AgentUsage;
import dev.forkd.hosted.HostedHost;
import dev.forkd.sandbox.Sandbox;
import dev.forkd.sandbox.Sandboxes;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.template.Rebooter;
import java.time.Duration;
import java.util.Optional;

/** What hosting needs, done by this engine's parts. */
record LocalHostedHost(
    Sandboxes sandboxes,
    Brancher brancher,
    SnapshotCatalog snapshots,
    Zygotes zygotes,
    Rebooter rebooter)
    implements HostedHost {
  private static final String WORKING = "running";
  private static final Duration USAGE_TIMEOUT = Duration.ofSeconds(10);
  private static final Duration END_TIMEOUT = Duration.ofSeconds(20);

  @Override
  public Size size(Tag snapshot) {
    // Whoever forks it looks at its files.
    SnapshotManifest manifest = snapshots.described(snapshot);
    return new Size(manifest.memoryMib(), Math.toIntExact(manifest.diskBytes() >> 20));
  }

  @Override
  public boolean living(SandboxId sandbox) {
    return sandboxes.find(sandbox).filter(Sandbox::alive).isPresent();
  }

  @Override
  public boolean working(SandboxId sandbox) {
    return sandboxes
        .find(sandbox)
        .filter(found -> found.view(false).state().equals(WORKING))
        .isPresent();
  }

  @Override
  public GuestUsage usage(SandboxId sandbox) {
    return usage(sandboxes.get(sandbox));
  }

  static GuestUsage usage(Sandbox sandbox) {
    try (Sandbox.Session session = sandbox.enter()) {
      AgentUsage now = session.agent().usage(USAGE_TIMEOUT);
      return new GuestUsage(
          now.cpuCount(),
          sandbox.cpuPercent(now),
          now.memoryTotalBytes(),
          now.memoryUsedBytes(),
          now.memoryCacheBytes(),
          now.diskTotalBytes(),
          now.diskUsedBytes());
    }
  }

  @Override
  public Snapshot branch(SandboxId sandbox, Tag tag) {
    return brancher.branch(
        sandboxes.get(sandbox),
        new BranchSpec(Optional.of(tag), BranchSpec.Mode.DIFF, Optional.empty()));
  }

  @Override
  public void writeDisk(SandboxId sandbox) {
    try (Sandbox.Session session = sandboxes.get(sandbox).enter()) {
      session.agent().syncDisks(END_TIMEOUT);
    }
  }

  @Override
  public Snapshot reboot(Tag from, Tag to) {
    return rebooter.reboot(from, to);
  }

  @Override
  public void endProcesses(SandboxId sandbox) {
    try (Sandbox.Session session = sandboxes.get(sandbox).enter()) {
      session.agent().endProcesses(END_TIMEOUT);
    }
  }

  @Override
  public void remove(Tag tag) {
    try {
      snapshots.delete(tag, DeleteMode.REFUSE);
      zygotes.prune();
    } catch (ForkdException e) {
      if (e.code() != ErrorCode.NOT_FOUND && e.code() != ErrorCode.FAILED_PRECONDITION) {
        throw e;
      }
    }
  }
}
