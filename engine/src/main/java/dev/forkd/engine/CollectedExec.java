package dev.forkd.engine;

import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.Threads;
import java.io.ByteArrayOutputStream;

/** A command that is run to its end for a caller who wants all of its output at once. */
final class CollectedExec implements ExecListener {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();
  private final long limitBytes;
  private final Caller caller;
  private boolean truncated;

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
    return new ExecResult(exit, out.toByteArray(), err.toByteArray(), truncated, wallMillis);
  }

  @Override
  public synchronized void stdout(byte[] chunk) {
    keep(out, chunk);
  }

  @Override
  public synchronized void stderr(byte[] chunk) {
    keep(err, chunk);
  }

  private void keep(ByteArrayOutputStream into, byte[] chunk) {
    int room = (int) Math.max(0, Math.min(chunk.length, limitBytes - into.size()));
    // What was dropped leaves a gap: nothing behind it is kept either.
    int kept = room > 0 && !truncated && caller.mayHold(room) ? room : 0;
    into.write(chunk, 0, kept);
    truncated |= kept < chunk.length;
  }
}
