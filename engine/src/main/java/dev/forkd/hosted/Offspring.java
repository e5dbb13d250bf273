package dev.forkd.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
import dev.forkd.engine.HostedSandboxes.HostedOutcome;
import dev.forkd.engine.HostedSandboxes.PauseMode;
import dev.forkd.engine.HostedSpec;
import dev.forkd.engine.HostedView;
import dev.forkd.engine.Snapshot;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.function.BiFunction;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;

/**
 * What is made of a hosted sandbox while it goes on: snapshots, and more of its kind.
 *
 * @param maker makes a hosted sandbox of a snapshot
 */
record Offspring(HostedHost host, Moments moments, BiFunction<HostedSpec, Tag, HostedView> maker) {
  /** How many of one fork are made at once. */
  private static final int FORKS_AT_ONCE = 4;

  Snapshot snapshot(Hosted hosted, Tag wanted, PauseMode mode) {
    return switch (mode) {
      case MEMORY -> {
        try (Hosted.Turn _ = hosted.turn()) {
          yield host.branch(hosted.requireRunning(), wanted);
        }
      }
      case DISK -> diskOf(hosted, wanted);
    };
  }

  private Snapshot diskOf(Hosted hosted, Tag wanted) {
    try (Moments.Moment moment = disk(hosted)) {
      return host.reboot(moment.tag(), wanted);
    }
  }

  /** Its turn is over once its disk is held: the boot has nothing to do with it any more. */
  private Moments.Moment disk(Hosted hosted) {
    try (Hosted.Turn _ = hosted.turn()) {
      SandboxId sandbox = hosted.requireRunning();
      host.writeDisk(sandbox);
      return moments.of(sandbox, "disk");
    }
  }

  private Moments.Moment now(Hosted hosted) {
    try (Hosted.Turn _ = hosted.turn()) {
      return moments.of(hosted.requireRunning(), "fork");
    }
  }

  List<HostedOutcome> fork(
      Hosted hosted, int count, Duration timeout, UnaryOperator<Map<String, String>> attributes) {
    HostedSpec like = hosted.detail().spec();
    try (Moments.Moment moment = now(hosted);
        ExecutorService makers = Threads.virtualExecutor("fork-" + hosted.id(), FORKS_AT_ONCE)) {
      List<Future<HostedOutcome>> made =
          IntStream.range(0, count)
              .mapToObj(_ -> like(like, timeout, attributes.apply(like.attributes())))
              .map(spec -> makers.submit(() -> outcome(spec, moment.tag())))
              .toList();
      List<HostedOutcome> outcomes = new ArrayList<>();
      for (Future<HostedOutcome> one : made) {
        outcomes.add(one.get());
      }
      return outcomes;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted while forking " + hosted.id(), e);
    } catch (ExecutionException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "forking " + hosted.id(), e.getCause());
    }
  }

  private static HostedSpec like(
      HostedSpec source, Duration timeout, Map<String, String> attributes) {
    return new HostedSpec(
        source.snapshot(),
        timeout,
        source.metadata(),
        source.env(),
        attributes,
        source.atEnd(),
        source.resumesBySelf(),
        source.secured());
  }

  private HostedOutcome outcome(HostedSpec spec, Tag moment) {
    try {
      return new HostedOutcome.Made(maker.apply(spec, moment));
    } catch (ForkdException e) {
      return new HostedOutcome.Failed(e.code(), e.message());
    }
  }
}
