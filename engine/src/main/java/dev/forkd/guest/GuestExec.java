package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ExecListener;
import java.time.Duration;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/** A command in a guest. One thread runs {@link #run}; any may write, signal or cancel. */
public final class GuestExec {
  private final AgentChannel channel;
  private final AgentStream stream;
  private final Duration limit;

  GuestExec(AgentChannel channel, AgentStream stream, Duration limit) {
    this.channel = channel;
    this.stream = stream;
    this.limit = limit;
  }

  /** Hands all output to {@code listener} and waits for the end; cancelled when this fails. */
  public ExecExit run(ExecListener listener) {
    try {
      return runOn(listener);
    } catch (RuntimeException e) {
      cancel();
      throw e;
    }
  }

  private ExecExit runOn(ExecListener listener) {
    long deadline = System.nanoTime() + limit.toNanos();
    while (true) {
      Optional<AgentStream.Item> item =
          stream.next(Duration.ofNanos(Math.max(0, deadline - System.nanoTime())));
      if (item.isEmpty()) {
        throw new ForkdException(
            ErrorCode.DEADLINE_EXCEEDED,
            "the guest did not end the command within " + limit.toSeconds() + " s");
      }
      switch (item.get()) {
        case AgentStream.Item.Data(int on, byte[] bytes) -> {
          if (on == Frame.CHANNEL_OUTPUT) {
            listener.stdout(bytes);
          } else {
            listener.stderr(bytes);
          }
        }
        case AgentStream.Item.Note _, AgentStream.Item.Eof _ ->
            throw FrameDecoder.broken("a note about a command");
        case AgentStream.Item.Ended(JsonNode result) -> {
          return exit(result);
        }
        case AgentStream.Item.Failed(ForkdException why) ->
            throw new ForkdException(why.code(), why.message(), why);
      }
    }
  }

  static ExecExit exit(JsonNode result) {
    if (result.path("timedOut").asBoolean(false)) {
      return new ExecExit.TimedOut();
    }
    if (result.has("signal")) {
      return new ExecExit.Signalled(result.path("signal").asInt(0));
    }
    if (result.has("pid")) {
      return new ExecExit.Background(result.path("pid").asInt(0));
    }
    if (!result.has("exit")) {
      throw FrameDecoder.broken("the end of a command without its status");
    }
    return new ExecExit.Exited(result.path("exit").asInt(-1));
  }

  /** Sends input; waits while the process does not read. */
  public void writeStdin(byte[] bytes) {
    stream.sendInput(bytes, 0, bytes.length, limit);
  }

  public void closeStdin() {
    if (!stream.over()) {
      channel.send(new Frame(stream.id(), Frame.EOF, Frame.CHANNEL_INPUT, new byte[0]));
    }
  }

  /** Sends a signal to the process group. */
  public void signal(int number) {
    if (number < 1 || number > 64) {
      throw new ForkdException(ErrorCode.INVALID_ARGUMENT, "signal must be 1 to 64, not " + number);
    }
    if (!stream.over()) {
      channel.send(new Frame(stream.id(), Frame.SIGNAL, 0, new byte[] {(byte) number}));
    }
  }

  /** Kills the process group and forgets it; whoever waits for its end hears of it. */
  public void cancel() {
    channel.cancel(stream, "the command was given up");
  }
}
