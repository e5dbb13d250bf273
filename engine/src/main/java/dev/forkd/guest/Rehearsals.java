package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.engine.ExecListener;
import dev.forkd.engine.ProcessListener;
import dev.forkd.engine.ProcessSpec;
import dev.forkd.engine.ProcessStream;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Runs commands for nothing but that the next ones find their way warm. */
public final class Rehearsals {
  private static final Duration LIFETIME = Duration.ofSeconds(60);

  /** Hears nothing. */
  public static final ExecListener NOBODY =
      new ExecListener() {
        @Override
        public void stdout(byte[] chunk) {}

        @Override
        public void stderr(byte[] chunk) {}
      };

  private Rehearsals() {}

  /** Runs each to its end, as kept processes, which is how clients run theirs. */
  public static void run(GuestAgent agent, List<KnownTemplate.Rehearsal> commands) {
    for (KnownTemplate.Rehearsal command : commands) {
      ProcessSpec spec =
          new ProcessSpec(
              command.args(),
              Map.of(),
              Optional.empty(),
              Optional.of(command.user()),
              Optional.empty(),
              false,
              Optional.empty(),
              Optional.of(LIFETIME));
      try (ProcessStream process = agent.processes().start(spec, Deaf.EAR, () -> {})) {
        process.await();
      } catch (ForkdException e) {
        // A guest without that user or program is no worse for it.
        if (e.code() != ErrorCode.NOT_FOUND && e.code() != ErrorCode.INVALID_ARGUMENT) {
          throw e;
        }
      }
    }
  }

  private enum Deaf implements ProcessListener {
    EAR;

    @Override
    public void started(int pid) {}

    @Override
    public void stdout(byte[] chunk) {}

    @Override
    public void stderr(byte[] chunk) {}

    @Override
    public void terminal(byte[] chunk) {}
  }
}
