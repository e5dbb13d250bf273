package dev.forkd.engine;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.UnaryOperator;

/**
 * Hosted sandboxes: each keeps its id for life, whichever sandbox it has at the moment, has a time
 * at which it ends, and can be paused and resumed. An unknown id is NOT_FOUND. They survive the
 * daemon, and an end that came while no daemon ran is made up for.
 */
public interface HostedSandboxes {
  /**
   * Forks a sandbox for it.
   *
   * @throws dev.forkd.api.ForkdException NOT_FOUND when the snapshot does not exist
   */
  HostedView create(HostedSpec spec);

  HostedView get(String id);

  /** All of them, the youngest start first. */
  List<HostedView> list();

  /** Ends it, and removes what it was paused as. */
  void kill(String id);

  /** It ends so long from now. */
  void setTimeout(String id, Duration timeout);

  /** The same, unless it ends later anyway. */
  void extend(String id, Duration timeout);

  /**
   * Saves it and lets its sandbox go. What listens to it hears its end at once. When it fails the
   * sandbox goes on.
   *
   * @throws dev.forkd.api.ForkdException ALREADY_EXISTS when it is paused, FAILED_PRECONDITION when
   *     requests to it do not end, ABORTED when another change of it does not
   */
  void pause(String id, PauseMode mode);

  /** What is saved of one. */
  enum PauseMode {
    /** Memory and disk: its processes go on in whatever goes on from it. */
    MEMORY,
    /** Its disk alone, which is booted: its processes are gone. */
    DISK
  }

  /**
   * Makes sure that it runs, and for so long at least.
   *
   * @param fresh one that was paused is booted from its disk, as if it had been paused without its
   *     memory
   * @return whether it was paused before
   */
  boolean resume(String id, Duration timeout, boolean fresh);

  /**
   * Its sandbox, for a request to it. One that is paused with its memory and resumes by itself is
   * resumed, for {@code leastTimeout} or its own, whichever is longer.
   *
   * @throws dev.forkd.api.ForkdException NOT_FOUND when it does not exist or is paused
   */
  SandboxId awake(String id, Duration leastTimeout);

  /**
   * Saves it as a snapshot of this tag while it lives on; a tag is made up when empty. Of its disk
   * alone the snapshot is what has come up after a boot, which takes as long as that.
   *
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when it is paused; for its disk also
   *     DEADLINE_EXCEEDED when the guest does not come up, RESOURCE_EXHAUSTED when too many boot
   */
  Snapshot snapshot(String id, Optional<Tag> tag, PauseMode mode);

  /**
   * More of it, from this moment on.
   *
   * @param attributes gives each the attributes it is to have, from those of this one
   * @return one outcome each: a new hosted sandbox, or why there is none
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when it is paused
   */
  List<HostedOutcome> fork(
      String id, int count, Duration timeout, UnaryOperator<Map<String, String>> attributes);

  /**
   * Tells when it stops running: killed, paused or at its end. What streams to it is to be cut
   * then.
   *
   * @param sandbox what {@link #awake} has given; it tells at once when that is no longer it
   * @return stops telling when closed
   */
  Subscription onStop(String id, SandboxId sandbox, Runnable listener);

  /** A standing wish to be told. */
  interface Subscription extends AutoCloseable {
    @Override
    void close();
  }

  /**
   * What happened to it and in it, the oldest first: the newest 500 entries, in memory, and for a
   * while after its end.
   */
  List<LogEntry> log(String id);

  /** Adds to its log; nothing when there is no such sandbox. Long texts are shortened. */
  void note(
      String id, LogEntry.Level level, String logger, String message, Map<String, String> fields);

  /**
   * What it used, the oldest sample first and one of now last while it runs: one every 5 s while it
   * was at work, of an hour at most.
   */
  List<UsageSample> usage(String id);

  /** How one of several attempts ended. */
  sealed interface HostedOutcome {
    record Made(HostedView sandbox) implements HostedOutcome {}

    record Failed(dev.forkd.api.ErrorCode code, String message) implements HostedOutcome {}
  }
}
