package dev.forkd.vmm.qemu;

import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Gives out helpers that copy processes. One is always kept ready: starting a program costs
 * milliseconds that whoever branches would wait for.
 *
 * <p>Thread-safe.
 */
final class CopyHelpers implements AutoCloseable {
  private final Path program;
  private final AtomicReference<Optional<CopyHelper>> spare =
      new AtomicReference<>(Optional.empty());
  private final AtomicBoolean starting = new AtomicBoolean();
  private volatile boolean closed;

  CopyHelpers(Path program) {
    this.program = program;
  }

  /** A helper that is not at work on any process yet; the caller closes it. */
  CopyHelper take() {
    Optional<CopyHelper> ready = spare.getAndSet(Optional.empty());
    refill();
    return ready.orElseGet(() -> CopyHelper.start(program));
  }

  private void refill() {
    if (closed || !starting.compareAndSet(false, true)) {
      return;
    }
    Threads.platform(
        "vmfork-spare",
        () -> {
          try {
            keep(CopyHelper.start(program));
          } catch (ForkdException e) {
            // Whoever needs one tries again, and says so.
            System.getLogger(CopyHelpers.class.getName())
                .log(System.Logger.Level.DEBUG, e.message());
          } finally {
            starting.set(false);
          }
        });
  }

  private void keep(CopyHelper helper) {
    spare.getAndSet(Optional.of(helper)).ifPresent(CopyHelper::close);
    if (closed) {
      close();
    }
  }

  /** Ends the one that is kept ready. */
  @Override
  public void close() {
    closed = true;
    spare.getAndSet(Optional.empty()).ifPresent(CopyHelper::close);
  }
}
