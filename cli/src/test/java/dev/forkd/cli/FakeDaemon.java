package dev.forkd.cli;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Executors;

/** A daemon of canned answers that remembers what it was asked. */
final class FakeDaemon implements AutoCloseable {
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  private final HttpServer server;
  private final Map<String, Answer> answers = new ConcurrentHashMap<>();

  /** {@code METHOD /path?query body}, in order. */
  final List<String> asked = new CopyOnWriteArrayList<>();

  /** What is answered; the rest of it once a request that begins so has come. */
  record Answer(int status, String body, String awaited, String rest) {}

  /** What a command line did. */
  record Outcome(int status, String out, String err) {}

  FakeDaemon() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
    server.createContext("/", this::handle);
    server.start();
  }

  FakeDaemon answers(String request, int status, String body) {
    answers.put(request, new Answer(status, body, "", ""));
    return this;
  }

  /** An answer that goes on only when another request was asked, as a command does that reads. */
  FakeDaemon answersAfter(String request, String begin, String awaited, String rest) {
    answers.put(request, new Answer(200, begin, awaited, rest));
    return this;
  }

  String url() {
    return "http://127.0.0.1:" + server.getAddress().getPort();
  }

  /** Runs a command line against this daemon. */
  Outcome run(String... words) {
    String[] all = new String[words.length + 2];
    int command = Set.of("template", "snapshot", "workspace", "e2b").contains(words[0]) ? 2 : 1;
    System.arraycopy(words, 0, all, 0, command);
    all[command] = "--daemon-url=" + url();
    all[command + 1] = "--daemon-token=secret";
    System.arraycopy(words, command, all, command + 2, words.length - command);
    return execute(all);
  }

  static Outcome execute(String... words) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    int status =
        Main.commandLine().setOut(new PrintWriter(out)).setErr(new PrintWriter(err)).execute(words);
    return new Outcome(status, out.toString(), err.toString());
  }

  private void handle(HttpExchange exchange) throws IOException {
    String request = exchange.getRequestMethod() + " " + exchange.getRequestURI();
    String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
    asked.add((request + " " + body).strip());
    boolean open = exchange.getRequestURI().getPath().equals("/healthz");
    boolean known =
        open || "Bearer secret".equals(exchange.getRequestHeaders().getFirst("Authorization"));
    Answer answer =
        known
            ? answers.getOrDefault(
                request,
                new Answer(
                    404, "{\"error\":\"no " + request + "\",\"code\":\"not_found\"}", "", ""))
            : new Answer(
                401, "{\"error\":\"invalid bearer token\",\"code\":\"unauthenticated\"}", "", "");
    if (!answer.awaited().isEmpty()) {
      stream(exchange, answer);
      return;
    }
    byte[] bytes = answer.body().getBytes(StandardCharsets.UTF_8);
    exchange.sendResponseHeaders(answer.status(), bytes.length == 0 ? -1 : bytes.length);
    exchange.getResponseBody().write(bytes);
    exchange.close();
  }

  private void stream(HttpExchange exchange, Answer answer) throws IOException {
    exchange.sendResponseHeaders(answer.status(), 0);
    try (OutputStream out = exchange.getResponseBody()) {
      out.write(answer.body().getBytes(StandardCharsets.UTF_8));
      out.flush();
      long deadline = System.nanoTime() + PATIENCE.toNanos();
      while (asked.stream().noneMatch(request -> request.startsWith(answer.awaited()))) {
        if (System.nanoTime() > deadline) {
          return; // The client sees an answer that breaks off.
        }
        Thread.sleep(5);
      }
      out.write(answer.rest().getBytes(StandardCharsets.UTF_8));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public void close() {
    server.stop(0);
  }
}
