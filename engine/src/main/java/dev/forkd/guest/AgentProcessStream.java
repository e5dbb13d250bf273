package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.engine.ExecExit;
import dev.forkd.engine.ProcessListener;
import dev.forkd.engine.ProcessStream;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import tools.jackson.databind.JsonNode;

/** Listening to a kept process: a thread hands what arrives to the listener. */
final class AgentProcessStream implements ProcessStream {
  /** How long to wait at a time; a process may be silent for as long as it likes. */
  private static final Duration TURN = Duration.ofHours(1);

  private final GuestAgent agent;
  private final AgentStream stream;
  private final boolean terminal;
  private final CompletableFuture<ExecExit> end = new CompletableFuture<>();

  AgentProcessStream(
      GuestAgent agent,
      AgentStream stream,
      boolean terminal,
      ProcessListener listener,
      Runnable ended) {
    this.agent = agent;
    this.stream = stream;
    this.terminal = terminal;
    Threads.virtual(
        "process-" + agent.who(),
        () -> {
          try {
            end.complete(listen(listener));
          } catch (RuntimeException e) {
            agent.cancel(stream, "listening to the process failed");
            end.completeExceptionally(e);
          } finally {
            ended.run();
          }
        });
  }

  private ExecExit listen(ProcessListener listener) {
    while (true) {
      Optional<AgentStream.Item> item = stream.next(TURN);
      if (item.isEmpty()) {
        continue;
      }
      switch (item.get()) {
        case AgentStream.Item.Note(JsonNode note) -> listener.started(note.path("pid").asInt(0));
        case AgentStream.Item.Data(int on, byte[] bytes) -> {
          if (terminal) {
            listener.terminal(bytes);
          } else if (on == Frame.CHANNEL_OUTPUT) {
            listener.stdout(bytes);
          } else {
            listener.stderr(bytes);
          }
        }
        case AgentStream.Item.Eof() ->
            throw FrameDecoder.broken("the end of a direction that a process does not have");
        case AgentStream.Item.Ended(JsonNode result) -> {
          return GuestExec.exit(result);
        }
        case AgentStream.Item.Failed(ForkdException why) ->
            throw new ForkdException(why.code(), why.message(), why);
      }
    }
  }

  @Override
  public ExecExit await() {
    try {
      return end.join();
    } catch (CompletionException e) {
      throw e.getCause() instanceof ForkdException known
          ? known
          : new ForkdException(ErrorCode.INTERNAL, "listening to a process", e.getCause());
    }
  }

  @Override
  public void close() {
    String why = "listening to the process was ended";
    if (end.completeExceptionally(new ForkdException(ErrorCode.CANCELLED, why))) {
      agent.cancel(stream, why);
    }
  }
}
