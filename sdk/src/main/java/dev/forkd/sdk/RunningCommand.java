package dev.forkd.sdk;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.Threads;
import dev.forkd.api.rest.ExecLine;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.MalformedJsonException;
import dev.forkd.api.rest.SignalRequest;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.util.Base64;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** A command under way. Closing it kills the command if it still runs. Any thread may use it. */
public final class RunningCommand implements AutoCloseable {
  private final Transport transport;
  private final String path;
  private final InputStream answer;
  private final CompletableFuture<ExitStatus> end = new CompletableFuture<>();

  private RunningCommand(Transport transport, String path, InputStream answer) {
    this.transport = transport;
    this.path = path;
    this.answer = answer;
  }

  static RunningCommand start(
      Transport transport, String sandboxPath, Command command, OutputListener listener) {
    HttpResponse<InputStream> response =
        transport.stream(
            "POST",
            sandboxPath + "/exec/stream",
            Transport.json(command.wire()),
            Optional.of("application/json"),
            transport.timeout());
    InputStream answer = response.body();
    LineReader lines = new LineReader(answer);
    String requestId = Transport.requestId(response);
    try {
      ExecLine first = line(lines);
      if (first.session().isEmpty()) {
        answer.close();
        throw failed(first, requestId);
      }
      String session = first.session().get();
      RunningCommand running =
          new RunningCommand(transport, sandboxPath + "/exec/" + session, answer);
      Threads.virtual("forkd-exec-" + session, () -> running.pump(lines, listener, requestId));
      return running;
    } catch (IOException e) {
      throw transport.unreachable(e);
    }
  }

  private static ExecLine line(LineReader lines) throws IOException {
    byte[] bytes =
        lines.next().orElseThrow(() -> new EOFException("the answer ends before the command does"));
    try {
      return Json.read(bytes, ExecLine.class);
    } catch (MalformedJsonException e) {
      throw new IOException(e);
    }
  }

  private static ForkdApiException failed(ExecLine line, String requestId) {
    ErrorCode code = line.code().map(ErrorCode::fromWireName).orElse(ErrorCode.INTERNAL);
    return new ForkdApiException(
        code, 200, requestId, line.error().orElse("the daemon said nothing of the command"), null);
  }

  private void pump(LineReader lines, OutputListener listener, String requestId) {
    try (answer) {
      while (true) {
        ExecLine line = line(lines);
        line.stdout().ifPresent(text -> listener.stdout(Base64.getDecoder().decode(text)));
        line.stderr().ifPresent(text -> listener.stderr(Base64.getDecoder().decode(text)));
        if (line.exitCode().isPresent()) {
          end.complete(
              new ExitStatus(
                  line.exitCode().getAsInt(),
                  line.signal(),
                  line.timedOut().orElse(false),
                  line.guestPid()));
          return;
        }
        if (line.error().isPresent()) {
          end.completeExceptionally(failed(line, requestId));
          return;
        }
      }
    } catch (IOException e) {
      end.completeExceptionally(transport.unreachable(e));
    } catch (RuntimeException e) {
      // The listener's own failure; the command is killed, since nobody hears it any more.
      end.completeExceptionally(e);
    }
  }

  /** Writes to its standard input; waits while it does not read. */
  public void writeStdin(byte[] bytes) {
    stdin(bytes, false);
  }

  /** Ends its standard input. */
  public void closeStdin() {
    stdin(new byte[0], true);
  }

  private void stdin(byte[] bytes, boolean eof) {
    transport.call(
        "POST",
        path + "/stdin" + (eof ? "?eof=true" : ""),
        BodyPublishers.ofByteArray(bytes),
        Optional.of("application/octet-stream"));
  }

  /** Sends a signal by number, 1 to 64, to its process group. */
  public void signal(int number) {
    transport.call(
        "POST",
        path + "/signal",
        Transport.json(new SignalRequest(OptionalInt.of(number))),
        Optional.of("application/json"));
  }

  /** Waits for the end; all output has been heard by then. */
  public ExitStatus await() {
    try {
      return end.get();
    } catch (ExecutionException e) {
      Throwable cause = Objects.requireNonNullElse(e.getCause(), e);
      switch (cause) {
        case ForkdApiException failure -> throw failure;
        case RuntimeException failure -> throw failure;
        default ->
            throw new ForkdApiException(
                ErrorCode.INTERNAL, 0, "", String.valueOf(cause.getMessage()), cause);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ForkdApiException(
          ErrorCode.CANCELLED, 0, "", "interrupted while waiting for a command", e);
    }
  }

  public boolean isRunning() {
    return !end.isDone();
  }

  /** Hangs up; the daemon then kills the command. */
  @Override
  public void close() {
    try {
      answer.close();
    } catch (IOException e) {
      // It is closed either way, and the command's end was told or is of no interest any more.
      end.completeExceptionally(transport.unreachable(e));
    }
  }
}
