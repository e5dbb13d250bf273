package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;

/** Only a line in the help: the launcher starts the daemon's own program for it. */
@Command(name = "serve", description = "run the daemon in the foreground; see forkd serve --help")
final class ServeCommand implements Callable<Integer> {
  @Override
  public Integer call() {
    throw new ForkdException(
        ErrorCode.UNIMPLEMENTED, "the daemon is another program: start it with ./forkd serve");
  }
}
