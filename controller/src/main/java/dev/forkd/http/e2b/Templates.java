package dev.forkd.http.e2b;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.api.Tag;
import dev.forkd.api.Threads;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.TemplateSpec;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Finds what a client wants a sandbox made from; one that forkd knows to make is made when needed.
 */
final class Templates {
  /** Clients give up after 60 s. */
  private static final Duration PATIENCE = Duration.ofSeconds(45);

  private final ForkdEngine engine;
  private final Map<Tag, Making> making = new ConcurrentHashMap<>();

  /** A template that is being made. */
  private static final class Making {
    final CompletableFuture<Boolean> done = new CompletableFuture<>();
    volatile String progress = "it was just begun";
  }

  Templates(ForkdEngine engine) {
    this.engine = engine;
  }

  /**
   * The snapshot that a name means: a tag, the name of a snapshot, or a known template.
   *
   * @throws ForkdException NOT_FOUND; UNAVAILABLE when it is being made, which takes longer than
   *     clients wait
   */
  Tag require(String name) {
    String plain = SnapshotNames.withoutDefault(name);
    Optional<Tag> there = find(plain);
    if (there.isPresent()) {
      return there.get();
    }
    KnownTemplate known =
        KnownTemplate.find(plain)
            .orElseThrow(() ->
                new ForkdException(
                    ErrorCode.NOT_FOUND,
                    "template '"
                        + shortened(name)
                        + "' not found; 'forkd ls' lists what is there, 'forkd template build'"
                        + " makes more"));
    await(known);
    return known.tag();
  }

  /** The same, without making any. */
  Optional<Tag> find(String name) {
    String plain = SnapshotNames.withoutDefault(name);
    if (isLegal(plain)) {
      try {
        Tag tag = new Tag(plain);
        if (engine.snapshot(tag).bootable()) {
          return Optional.of(tag);
        }
      } catch (ForkdException e) {
        if (e.code() != ErrorCode.NOT_FOUND) {
          throw e;
        }
      }
    }
    return SnapshotNames.all(engine.snapshots()).stream()
        .filter(Snapshot::bootable)
        .map(Snapshot::tag)
        .filter(candidate -> SnapshotNames.isNamed(candidate, name))
        .findFirst();
  }

  private static boolean isLegal(String tag) {
    try {
      return !new Tag(tag).value().isEmpty();
    } catch (ForkdException e) {
      return false;
    }
  }

  private void await(KnownTemplate known) {
    Making mine =
        making.computeIfAbsent(
            known.tag(),
            tag -> {
              Making begun = new Making();
              Threads.virtual("bake-" + tag, () -> make(known, begun));
              return begun;
            });
    try {
      mine.done.get(PATIENCE.toMillis(), TimeUnit.MILLISECONDS);
    } catch (TimeoutException e) {
      throw new ForkdException(
          ErrorCode.UNAVAILABLE,
          "template '"
              + known.tag()
              + "' is being made for the first time ("
              + mine.progress
              + "); try again in a minute, or watch it with: forkd template build "
              + known.tag(),
          e);
    } catch (ExecutionException e) {
      throw e.getCause() instanceof ForkdException failed
          ? new ForkdException(
              failed.code(),
              "template '" + known.tag() + "' could not be made: " + failed.message(),
              failed)
          : new ForkdException(ErrorCode.INTERNAL, "make template " + known.tag(), e.getCause());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdException(ErrorCode.CANCELLED, "interrupted", e);
    }
  }

  private void make(KnownTemplate known, Making begun) {
    try {
      engine.bake(TemplateSpec.of(known), line -> begun.progress = line);
      begun.done.complete(true);
    } catch (RuntimeException e) {
      begun.done.completeExceptionally(e);
    } finally {
      // Whoever asks next sees that it is there, or tries again.
      making.remove(known.tag(), begun);
    }
  }

  private static String shortened(String text) {
    return text.length() <= 100 ? text : text.substring(0, 100) + "…";
  }
}
