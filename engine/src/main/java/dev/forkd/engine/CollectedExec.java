package dev.forkd.engine;

import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Threads;
import java.io.ByteArrayOutputStream;

/** A command that is run to its end for a caller who wants all of its output at once. */
final class CollectedExec implements ExecListener {
  private final Kept out = new Kept();
  private final Kept err = new Kept();
  private final long limitBytes;
  private final Caller caller;

  private CollectedExec(long limitBytes, Caller caller) {
    this.limitBytes = limitBytes;
    this.caller = caller;
  }

  static ExecResult run(ForkdEngine engine, SandboxId id, ExecSpec spec, Caller caller) {
    long begin = System.nanoTime();
    CollectedExec collected = new CollectedExec(spec.outputLimitBytes(), caller);
    try (ExecSession session = engine.startExec(id, spec, collected);
        Caller.Standing _ = caller.onGone(session::close)) {
      if (spec.stdin().length > 0) {
        // Beside the output: a command may not read on before its output is taken.
        Threads.virtual("stdin-" + id, () -> feed(session, spec.stdin()));
      }
      ExecExit exit = session.await();
      return collected.result(exit, (System.nanoTime() - begin) / 1e6);
    }
  }

  private static void feed(ExecSession session, byte[] input) {
    try {
      session.writeStdin(input);
      session.closeStdin();
    } catch (ForkdException e) {
      // The command ended without reading everything, which is its right.
      return;
    }
  }

  private synchronized ExecResult result(ExecExit exit, double wallMillis) {
    return new ExecResult(
        exit,
        out.bytes.toByteArray(),
        err.bytes.toByteArray(),
        out.truncated || err.truncated,
        wallMillis);
  }

  @Override
  public synchronized void stdout(byte[] chunk) {
    out.keep(chunk);
  }

  @Override
  public synchronized void stderr(byte[] chunk) {
    err.keep(chunk);
  }

  /** What is kept of one of the two. */
  private final class Kept {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private boolean truncated;

    void keep(byte[] chunk) {
      int room = (int) Math.max(0, Math.min(chunk.length, limitBytes - bytes.size()));
      // What was dropped leaves a gap: nothing behind it is kept either.
      int kept = room > 0 && !truncated && caller.mayHold(room) ? room : 0;
      bytes.write(chunk, 0, kept);
      truncated |= kept < chunk.length;
    }
  }
}
