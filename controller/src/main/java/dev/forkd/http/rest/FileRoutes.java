package dev.forkd.http.rest;

import dev.forkd.api.rest.FileWritten;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.MakeDirectory;
import dev.forkd.api.rest.MoveFile;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.GuestFiles;
import dev.forkd.http.ClientGoneException;
import dev.forkd.http.Exchange;
import dev.forkd.http.ListAnswer;
import dev.forkd.http.Route;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.regex.Pattern;

/** The files of a sandbox. */
final class FileRoutes {
  private static final Pattern OCTAL_MODE = Pattern.compile("[0-7]{1,4}");
  private static final String BYTES = "application/octet-stream";

  private final ForkdEngine engine;

  FileRoutes(ForkdEngine engine) {
    this.engine = engine;
  }

  List<Route> routes() {
    return List.of(
        new Route("GET", "/v1/sandboxes/{id}/files", this::read),
        new Route("PUT", "/v1/sandboxes/{id}/files", this::write),
        new Route("DELETE", "/v1/sandboxes/{id}/files", this::remove),
        new Route("GET", "/v1/sandboxes/{id}/files/stat", this::stat),
        new Route("GET", "/v1/sandboxes/{id}/files/list", this::list),
        new Route("POST", "/v1/sandboxes/{id}/files/mkdir", this::makeDirectory),
        new Route("POST", "/v1/sandboxes/{id}/files/move", this::move));
  }

  private GuestFiles files(Exchange exchange) {
    return engine.files(exchange.sandboxId());
  }

  private static String path(Exchange exchange) {
    return Checks.guestPath(
        "path",
        exchange
            .query("path")
            .orElseThrow(() -> Checks.invalid("the query parameter 'path' is missing")));
  }

  /** Begins the answer with the first byte, so that a missing file can still be a 404. */
  private static final class LateStream extends OutputStream {
    private final Exchange exchange;
    private Optional<OutputStream> out = Optional.empty();

    LateStream(Exchange exchange) {
      this.exchange = exchange;
    }

    private OutputStream out() {
      if (out.isEmpty()) {
        out = Optional.of(exchange.stream(200, BYTES));
      }
      return out.get();
    }

    @Override
    public void write(int b) {
      write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int from, int count) {
      try {
        out().write(bytes, from, count);
      } catch (IOException e) {
        throw new ClientGoneException(e);
      }
    }

    void finish() {
      if (out.isEmpty()) {
        exchange.bytes(200, BYTES, new byte[0]);
        return;
      }
      try {
        out.get().close();
      } catch (IOException e) {
        throw new ClientGoneException(e);
      }
    }
  }

  private void read(Exchange exchange) {
    String path = path(exchange);
    // Not closed on failure: a closed stream would tell the client that all is well.
    @SuppressWarnings("resource")
    LateStream sink = new LateStream(exchange);
    files(exchange).read(path, sink);
    sink.finish();
  }

  private void write(Exchange exchange) {
    String path = path(exchange);
    OptionalInt mode = exchange.query("mode").map(FileRoutes::mode).orElse(OptionalInt.empty());
    Optional<String> user = exchange.query("user").map(name -> Checks.noNul("user", name));
    GuestFiles files = files(exchange);
    try (InputStream body = exchange.bodyStream()) {
      long size = files.write(path, body, mode, user);
      exchange.json(201, new FileWritten(path, size));
    } catch (IOException | UncheckedIOException e) {
      throw new ClientGoneException(e);
    }
  }

  private static OptionalInt mode(String text) {
    if (!OCTAL_MODE.matcher(text).matches()) {
      throw Checks.invalid("mode must be octal, such as 0644");
    }
    return OptionalInt.of(Integer.parseInt(text, 8));
  }

  private void remove(Exchange exchange) {
    files(exchange).remove(path(exchange));
    exchange.empty(204);
  }

  private void stat(Exchange exchange) {
    exchange.json(200, Views.entry(files(exchange).stat(path(exchange))));
  }

  private void list(Exchange exchange) {
    ListAnswer answer = new ListAnswer(exchange, "[", "]");
    files(exchange).list(path(exchange), entry -> answer.add(Json.write(Views.entry(entry))));
    answer.end();
  }

  private void makeDirectory(Exchange exchange) {
    String path = Checks.guestPath("path", exchange.body(MakeDirectory.class).path());
    GuestFiles files = files(exchange);
    files.makeDirectory(path);
    exchange.json(201, Views.entry(files.stat(path)));
  }

  private void move(Exchange exchange) {
    MoveFile body = exchange.body(MoveFile.class);
    files(exchange).move(Checks.guestPath("from", body.from()), Checks.guestPath("to", body.to()));
    exchange.empty(204);
  }
}
