package dev.forkd.sdk;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.rest.ChildResult;
import dev.forkd.api.rest.CompactSnapshot;
import dev.forkd.api.rest.PoolInfo;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SetPool;
import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.api.rest.SnapshotInfoDetail;
import java.net.http.HttpRequest.BodyPublishers;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/** A saved microVM, template or branch, from which sandboxes are forked. */
public final class Snapshot {
  /** What each child may add to the time that a fork takes at most. */
  private static final Duration TIMEOUT_PER_CHILD = Duration.ofSeconds(2);

  /** All of a guest's memory is read and written. */
  private static final Duration COMPACT_TIMEOUT = Duration.ofMinutes(10);

  private final Transport transport;
  private final SnapshotInfo info;

  Snapshot(Transport transport, SnapshotInfo info) {
    this.transport = transport;
    this.info = info;
  }

  public String tag() {
    return info.tag();
  }

  /** What was known when this object was made. */
  public SnapshotInfo info() {
    return info;
  }

  /** What it takes on disk, and its place in a chain, now. */
  public SnapshotInfoDetail detail() {
    return transport.get(path() + "/info", SnapshotInfoDetail.class);
  }

  /** Makes of it a snapshot with another tag that stands alone, its memory in one flat image. */
  public Snapshot compact(String to) {
    return new Snapshot(
        transport,
        transport.post(
            path() + "/compact", new CompactSnapshot(to), SnapshotInfo.class, COMPACT_TIMEOUT));
  }

  /** Its pool of children that are forked ahead, now. */
  public PoolInfo pool() {
    return transport.get(path() + "/pool", PoolInfo.class);
  }

  /**
   * Keeps children ready, so that a fork is quick; the daemon fills the pool in the background.
   *
   * @param size how many, 0 to 1000; 0 switches it off
   * @param prewarm let each work once before it is handed out
   */
  public PoolInfo setPool(int size, boolean prewarm) {
    return transport.put(
        path() + "/pool", new SetPool(OptionalLong.of(size), prewarm), PoolInfo.class);
  }

  private String path() {
    return "/v1/snapshots/" + Transport.encode(tag());
  }

  /** Forks one child. */
  public Sandbox fork() {
    return fork(1).getFirst();
  }

  /** Forks {@code count} children: all, or none and an exception. */
  public List<Sandbox> fork(int count) {
    return fork(ForkOptions.of(count));
  }

  /** Forks children: all, or none and an exception. */
  public List<Sandbox> fork(ForkOptions options) {
    return fork(transport, tag(), options);
  }

  /** Forks children and keeps those that started; one outcome per child, in order. */
  public List<ForkOutcome> forkPartially(ForkOptions options) {
    return transport
        .postList(
            "/v1/sandboxes",
            options.wire(tag(), true),
            ChildResult.class,
            timeout(transport, options))
        .stream()
        .map(this::outcome)
        .toList();
  }

  private ForkOutcome outcome(ChildResult child) {
    if (child.sandbox().isPresent()) {
      return new ForkOutcome.Started(new Sandbox(transport, child.sandbox().get()));
    }
    return new ForkOutcome.Failed(
        child.code().map(ErrorCode::fromWireName).orElse(ErrorCode.INTERNAL),
        child.error().orElse("no reason given"));
  }

  static List<Sandbox> fork(Transport transport, String tag, ForkOptions options) {
    return transport
        .postList(
            "/v1/sandboxes",
            options.wire(tag, false),
            SandboxInfo.class,
            timeout(transport, options))
        .stream()
        .map(child -> new Sandbox(transport, child))
        .toList();
  }

  private static Duration timeout(Transport transport, ForkOptions options) {
    return transport.timeout().plus(TIMEOUT_PER_CHILD.multipliedBy(Math.max(1, options.count())));
  }

  /** Deletes it; refused while other snapshots name it as their parent. */
  public void delete() {
    delete("");
  }

  /** Deletes it and those that name it as their parent, and so on. */
  public void deleteWithDependents() {
    delete("?cascade=true");
  }

  /** Deletes it alone; those that name it as their parent stay. */
  public void deleteAlone() {
    delete("?force=true");
  }

  private void delete(String query) {
    transport.call("DELETE", path() + query, BodyPublishers.noBody(), Optional.empty());
  }

  @Override
  public String toString() {
    return "snapshot " + tag();
  }
}
