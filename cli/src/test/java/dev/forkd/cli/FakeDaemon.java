package dev.forkd.cli;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Executors;

/** A daemon of canned answers that remembers what it was asked. */
final class FakeDaemon implements AutoCloseable {
  private final HttpServer server;
  private final Map<String, Answer> answers = new ConcurrentHashMap<>();

  /** {@code METHOD /path?query body}, in order. */
  final List<String> asked = new CopyOnWriteArrayList<>();

  record Answer(int status, String body) {}

  /** What a command line did. */
  record Outcome(int status, String out, String err) {}

  FakeDaemon() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
    server.createContext("/", this::handle);
    server.start();
  }

  FakeDaemon answers(String request, int status, String body) {
    answers.put(request, new Answer(status, body));
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
                new Answer(404, "{\"error\":\"no " + request + "\",\"code\":\"not_found\"}"))
            : new Answer(401, "{\"error\":\"invalid bearer token\",\"code\":\"unauthenticated\"}");
    byte[] bytes = answer.body().getBytes(StandardCharsets.UTF_8);
    exchange.sendResponseHeaders(answer.status(), bytes.length == 0 ? -1 : bytes.length);
    exchange.getResponseBody().write(bytes);
    exchange.close();
  }

  @Override
  public void close() {
    server.stop(0);
  }
}
