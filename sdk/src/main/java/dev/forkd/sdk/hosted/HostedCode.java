package dev.forkd.sdk.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.sdk.ForkdApiException;
import java.io.BufferedReader;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import tools.jackson.databind.JsonNode;

/**
 * Code in the interpreter of a hosted sandbox, which the template {@code code-interpreter-v1} has.
 */
public final class HostedCode {
  private static final int PORT = 49999;
  private static final Duration CONTEXT_TIMEOUT = Duration.ofMinutes(2);

  private final Wire wire;
  private final Wire.Access access;

  HostedCode(Wire wire, Wire.Access access) {
    this.wire = wire;
    this.access = access;
  }

  /**
   * How code is run. Immutable; each method gives a changed copy.
   *
   * @param language whose default context it runs in, if no context is named
   * @param context the id of the one it runs in
   * @param env of this run alone; in Java they are system properties
   * @param timeout after which it is interrupted
   */
  public record Options(
      String language, Optional<String> context, Map<String, String> env, Duration timeout) {
    /** Python, in its default context, for five minutes. */
    public static final Options DEFAULT =
        new Options("python", Optional.empty(), Map.of(), Duration.ofMinutes(5));

    public Options {
      env = Map.copyOf(env);
    }

    /** In the default context of {@code python}, {@code javascript}, {@code bash} or so. */
    public Options language(String name) {
      return new Options(name, Optional.empty(), env, timeout);
    }

    public Options context(CodeContext one) {
      return new Options(one.language(), Optional.of(one.id()), env, timeout);
    }

    public Options env(String name, String value) {
      Map<String, String> more = new LinkedHashMap<>(env);
      more.put(name, value);
      return new Options(language, context, more, timeout);
    }

    public Options timeout(Duration limit) {
      return new Options(language, context, env, limit);
    }

    private Map<String, Object> wire(String code) {
      Map<String, Object> body = new LinkedHashMap<>();
      body.put("code", code);
      context.ifPresentOrElse(
          id -> body.put("context_id", id), () -> body.put("language", language));
      body.put("env_vars", env);
      return body;
    }
  }

  /** Runs Python; what it raises is in the answer. */
  public CodeRun run(String code) {
    return run(code, Options.DEFAULT, _ -> {});
  }

  public CodeRun run(String code, Options options) {
    return run(code, options, _ -> {});
  }

  /**
   * Runs code; state stays from run to run of a context.
   *
   * @param listener hears what it prints, as it comes; it may block, which slows the code down
   * @throws ForkdApiException DEADLINE_EXCEEDED when it does not end in its time: it is
   *     interrupted, and the next run in its context can follow; NOT_FOUND when there is no such
   *     context
   */
  public CodeRun run(String code, Options options, Consumer<Output> listener) {
    long deadline = System.nanoTime() + options.timeout().toNanos();
    HttpRequest request =
        request("/execute")
            .timeout(options.timeout())
            .POST(BodyPublishers.ofByteArray(Wire.json(options.wire(code))))
            .build();
    try (InputStream answer = wire.stream(request);
        Deadline limit = new Deadline(answer, deadline)) {
      try {
        return collect(
            new BufferedReader(new InputStreamReader(answer, StandardCharsets.UTF_8)), listener);
      } catch (IOException e) {
        if (limit.passed()) {
          throw new ForkdApiException(
              ErrorCode.DEADLINE_EXCEEDED,
              0,
              "",
              "code in "
                  + access.id()
                  + " did not end within "
                  + options.timeout()
                  + " and is interrupted; give it more time with Options.timeout",
              e);
        }
        throw e;
      }
    } catch (IOException e) {
      throw wire.unreachable(e);
    }
  }

  /** Closes an answer that takes too long, which interrupts whoever reads it. */
  private static final class Deadline implements AutoCloseable {
    private final Thread watch;
    private volatile boolean passed;

    Deadline(InputStream answer, long nanoTime) {
      watch =
          Thread.ofVirtual()
              .start(() -> {
                try {
                  Thread.sleep(Duration.ofNanos(Math.max(0, nanoTime - System.nanoTime())));
                  passed = true;
                  answer.close();
                } catch (InterruptedException e) {
                  // It was in time.
                } catch (IOException e) {
                  // Whoever reads it finds it broken.
                }
              });
    }

    boolean passed() {
      return passed;
    }

    @Override
    public void close() {
      watch.interrupt();
    }
  }

  /** Starts a kernel of its own in the user's home. */
  public CodeContext createContext(String language) {
    return createContext(language, Optional.empty());
  }

  /** Starts a kernel of its own in a folder. */
  public CodeContext createContext(String language, String cwd) {
    return createContext(language, Optional.of(cwd));
  }

  private CodeContext createContext(String language, Optional<String> cwd) {
    Map<String, Object> body = new LinkedHashMap<>();
    body.put("language", language);
    cwd.ifPresent(folder -> body.put("cwd", folder));
    return context(
        wire.answer(
            request("/contexts")
                .timeout(CONTEXT_TIMEOUT)
                .POST(BodyPublishers.ofByteArray(Wire.json(body)))
                .build()));
  }

  /** All that there are, the languages' default ones with them. */
  public List<CodeContext> contexts() {
    List<CodeContext> all = new ArrayList<>();
    wire.answer(request("/contexts").timeout(CONTEXT_TIMEOUT).GET().build())
        .forEach(node -> all.add(context(node)));
    return all;
  }

  /** Forgets all it holds; what runs in it is ended. */
  public void restart(CodeContext context) {
    wire.answer(
        request("/contexts/" + context.id() + "/restart")
            .timeout(CONTEXT_TIMEOUT)
            .POST(BodyPublishers.noBody())
            .build());
  }

  /** Ends its kernel, and what runs in it. */
  public void remove(CodeContext context) {
    wire.answer(request("/contexts/" + context.id()).timeout(CONTEXT_TIMEOUT).DELETE().build());
  }

  private HttpRequest.Builder request(String path) {
    HttpRequest.Builder request =
        wire.toPort(access.id(), PORT, path).header("Content-Type", "application/json");
    access.authorize(request, Optional.empty());
    return request;
  }

  private static CodeContext context(JsonNode node) {
    return new CodeContext(
        node.path("id").asString(""),
        node.path("language").asString(""),
        node.path("cwd").asString(""));
  }

  private static CodeRun collect(BufferedReader lines, Consumer<Output> listener)
      throws IOException {
    StringBuilder stdout = new StringBuilder();
    StringBuilder stderr = new StringBuilder();
    List<CodeRun.Shown> results = new ArrayList<>();
    Optional<CodeRun.Raised> error = Optional.empty();
    Optional<String> text = Optional.empty();
    int count = 0;
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonNode event = Wire.parse(line.getBytes(StandardCharsets.UTF_8));
      String said = event.path("text").asString("");
      switch (event.path("type").asString("")) {
        case "stdout" -> {
          stdout.append(said);
          listener.accept(new Output.Stdout(said.getBytes(StandardCharsets.UTF_8)));
        }
        case "stderr" -> {
          stderr.append(said);
          listener.accept(new Output.Stderr(said.getBytes(StandardCharsets.UTF_8)));
        }
        case "number_of_executions" -> count = event.path("execution_count").asInt(0);
        case "error" ->
            error =
                Optional.of(
                    new CodeRun.Raised(
                        event.path("name").asString(""),
                        event.path("value").asString(""),
                        event.path("traceback").asString("")));
        case "result" -> {
          CodeRun.Shown shown = shown(event);
          results.add(shown);
          if (shown.main() && text.isEmpty()) {
            text = Optional.of(said);
          }
        }
        case "end_of_execution" -> {
          return new CodeRun(text, results, stdout.toString(), stderr.toString(), error, count);
        }
        default -> {}
      }
    }
    throw new EOFException("the answer was cut off before the code's end");
  }

  private static CodeRun.Shown shown(JsonNode event) {
    Map<String, Object> formats = new LinkedHashMap<>();
    event
        .properties()
        .forEach(format -> {
          if (!format.getKey().equals("type") && !format.getKey().equals("is_main_result")) {
            JsonNode value = format.getValue();
            formats.put(format.getKey(), value.isString() ? value.asString("") : value);
          }
        });
    return new CodeRun.Shown(event.path("is_main_result").asBoolean(false), formats);
  }
}
