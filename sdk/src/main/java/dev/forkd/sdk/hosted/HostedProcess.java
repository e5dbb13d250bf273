package dev.forkd.sdk.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.Threads;
import dev.forkd.sdk.ForkdApiException;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Flow;
import java.util.concurrent.SubmissionPublisher;
import java.util.function.Consumer;
import tools.jackson.databind.JsonNode;

/**
 * A process in a hosted sandbox, as heard by one listener. It goes on when this is closed; any
 * number of others may listen to it. Any thread may use it.
 */
public final class HostedProcess implements AutoCloseable {
  /**
   * How it ended.
   *
   * @param code -1 when a signal ended it
   * @param error why it is not 0; empty when it is
   */
  public record Exit(int code, String error) {}

  private static final Base64.Decoder BASE64 = Base64.getDecoder();

  private final HostedCommands commands;
  private final Wire.Messages messages;
  private final CompletableFuture<Integer> pid = new CompletableFuture<>();
  private final CompletableFuture<Exit> end = new CompletableFuture<>();
  private final SubmissionPublisher<Output> publisher =
      new SubmissionPublisher<>(Runnable::run, 256);

  HostedProcess(HostedCommands commands, Wire.Messages messages, Consumer<Output> listener) {
    this.commands = commands;
    this.messages = messages;
    Threads.virtual("hosted-process", () -> listen(listener));
  }

  private void listen(Consumer<Output> listener) {
    try {
      messages.forEach(message -> heard(message.path("event"), listener));
      end.completeExceptionally(
          new ForkdApiException(
              ErrorCode.UNAVAILABLE, 0, "", "the process's stream ended without its end", null));
    } catch (RuntimeException e) {
      pid.completeExceptionally(e);
      end.completeExceptionally(e);
    } finally {
      publisher.close();
    }
  }

  private void heard(JsonNode event, Consumer<Output> listener) {
    if (event.has("start")) {
      pid.complete(event.path("start").path("pid").asInt(0));
    } else if (event.has("data")) {
      JsonNode data = event.path("data");
      if (data.has("stdout")) {
        tell(new Output.Stdout(BASE64.decode(data.path("stdout").asString(""))), listener);
      } else if (data.has("stderr")) {
        tell(new Output.Stderr(BASE64.decode(data.path("stderr").asString(""))), listener);
      } else if (data.has("pty")) {
        tell(new Output.Terminal(BASE64.decode(data.path("pty").asString(""))), listener);
      }
    } else if (event.has("end")) {
      JsonNode told = event.path("end");
      end.complete(new Exit(told.path("exitCode").asInt(0), told.path("error").asString("")));
    }
  }

  private void tell(Output output, Consumer<Output> listener) {
    listener.accept(output);
    // Waits for those who read slowly: that slows the process down, nothing piles up.
    publisher.submit(output);
  }

  /** Its process id in the guest; waits until it runs. */
  public int pid() {
    return joined(pid);
  }

  /** What it writes from now on, to as many as subscribe; a slow one slows the process down. */
  public Flow.Publisher<Output> output() {
    return publisher;
  }

  /**
   * Waits for its end. A status other than 0 is no exception.
   *
   * @throws ForkdApiException DEADLINE_EXCEEDED when its time was up and it was killed; CANCELLED
   *     after {@link #close}
   */
  public Exit await() {
    return joined(end);
  }

  private static <T> T joined(CompletableFuture<T> future) {
    try {
      return future.join();
    } catch (CompletionException e) {
      throw e.getCause() instanceof ForkdApiException known
          ? known
          : new ForkdApiException(
              ErrorCode.INTERNAL, 0, "", "listening to a process failed", e.getCause());
    }
  }

  /** Writes to its standard input or terminal. */
  public void write(byte[] bytes) {
    commands.write(pid(), bytes);
  }

  public void write(String text) {
    write(text.getBytes(StandardCharsets.UTF_8));
  }

  /** Ends its standard input. */
  public void closeInput() {
    commands.closeInput(pid());
  }

  /** Kills it; false when it had ended already. */
  public boolean kill() {
    return commands.kill(pid());
  }

  /** Changes the size of its terminal. */
  public void resize(int columns, int rows) {
    commands.update(
        Map.of(
            "process",
            Map.of("pid", pid()),
            "pty",
            Map.of("size", Map.of("cols", columns, "rows", rows))));
  }

  /** Stops listening; the process goes on. */
  @Override
  public void close() {
    messages.close();
  }
}
