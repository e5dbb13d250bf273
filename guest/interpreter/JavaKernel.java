import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import jdk.jshell.Diag;
import jdk.jshell.EvalException;
import jdk.jshell.ExpressionSnippet;
import jdk.jshell.JShell;
import jdk.jshell.JShellException;
import jdk.jshell.Snippet;
import jdk.jshell.SnippetEvent;
import jdk.jshell.SourceCodeAnalysis;
import jdk.jshell.UnresolvedReferenceException;
import jdk.jshell.VarSnippet;
import jdk.jshell.execution.LocalExecutionControl;
import jdk.jshell.spi.ExecutionControl;
import jdk.jshell.spi.ExecutionControlProvider;
import jdk.jshell.spi.ExecutionEnv;

/**
 * Java that stays: a JShell whose variables, methods, classes and imports live from run to run. Code is run in this very process,
 * which needs no second virtual machine. Lines of JSON on two descriptors, whose numbers are the arguments; see lines.py.
 */
public final class JavaKernel {
  private static final List<String> IMPORTS =
      List.of("java.io.*", "java.math.*", "java.net.*", "java.nio.file.*", "java.time.*", "java.util.*", "java.util.concurrent.*",
          "java.util.function.*", "java.util.regex.*", "java.util.stream.*");

  private final PrintStream protocol;
  private final JShell shell;
  private final AtomicBoolean running = new AtomicBoolean();
  private final AtomicBoolean interrupted = new AtomicBoolean();
  private int count;

  /** What the JShell asks for something to run its code; this one is kept at hand to be stopped. */
  private final class Here implements ExecutionControlProvider {
    @Override
    public String name() {
      return "here";
    }

    @Override
    public ExecutionControl generate(ExecutionEnv env, Map<String, String> parameters) {
      return new LocalExecutionControl() {
        @Override
        public String invoke(String className, String methodName)
            throws RunException, EngineTerminationException, InternalException {
          if (interrupted.get()) { // While it was compiled.
            throw new StoppedException();
          }
          return super.invoke(className, methodName);
        }
      };
    }
  }

  private JavaKernel(PrintStream protocol) throws IOException {
    this.protocol = protocol;
    System.setOut(opened("1"));
    System.setErr(opened("2"));
    shell = JShell.builder().executionEngine(new Here(), new HashMap<>()).build();
    IMPORTS.forEach(name -> shell.eval("import " + name + ";"));
  }

  /** Opened again: a child that makes its own non-blocking does not make this so. The JDK closes what is above 2 in children. */
  private static PrintStream opened(String descriptor) throws IOException {
    return new PrintStream(new FileOutputStream("/proc/self/fd/" + descriptor), true, StandardCharsets.UTF_8);
  }

  public static void main(String[] args) throws IOException {
    BufferedReader in =
        new BufferedReader(new InputStreamReader(new FileInputStream("/proc/self/fd/" + args[0]), StandardCharsets.UTF_8));
    JavaKernel kernel = new JavaKernel(opened(args[1]));
    sun.misc.Signal.handle(new sun.misc.Signal("INT"), signal -> kernel.interrupt());
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      Map<String, Object> ask = Json.read(line);
      kernel.say("{\"type\":\"begin\",\"id\":" + ask.get("id") + "}");
      kernel.answer(ask);
      kernel.say("{\"type\":\"done\"}");
    }
    System.exit(0);
  }

  private void interrupt() {
    if (running.get()) {
      interrupted.set(true);
      shell.stop();
    }
  }

  private synchronized void say(String line) {
    protocol.print(line + "\n");
    protocol.flush();
  }

  private void answer(Map<String, Object> ask) {
    switch (String.valueOf(ask.get("do"))) {
      case "run" -> run(String.valueOf(ask.get("code")), words(ask.get("env")));
      case "environment" -> words(ask.get("env")).forEach(System::setProperty);
      case "forget" -> count = 0;
      default -> { }
    }
  }

  @SuppressWarnings("unchecked")
  private static Map<String, String> words(Object env) {
    return env instanceof Map ? (Map<String, String>) env : Map.of();
  }

  /** A process cannot change its own environment; what a run is given, it finds among the system properties. */
  private void run(String code, Map<String, String> env) {
    say("{\"type\":\"number_of_executions\",\"execution_count\":" + ++count + "}");
    Map<String, String> before = new HashMap<>();
    env.forEach((name, value) -> before.put(name, System.setProperty(name, value)));
    interrupted.set(false);
    running.set(true);
    try {
      evaluate(code);
      if (interrupted.get()) {
        error("KeyboardInterrupt", "execution was interrupted", "KeyboardInterrupt");
      }
    } finally {
      running.set(false);
      before.forEach((name, value) -> {
        if (value == null) {
          System.clearProperty(name);
        } else {
          System.setProperty(name, value);
        }
      });
    }
  }

  private void evaluate(String code) {
    SourceCodeAnalysis analysis = shell.sourceCodeAnalysis();
    String rest = code;
    String result = null;
    while (!rest.isBlank()) {
      SourceCodeAnalysis.CompletionInfo info = analysis.analyzeCompletion(rest);
      if (info.completeness() == SourceCodeAnalysis.Completeness.DEFINITELY_INCOMPLETE) {
        error("SyntaxError", "the code ends before it is complete", rest.strip());
        return;
      }
      String source = info.source() == null || info.source().isEmpty() ? rest : info.source();
      rest = info.source() == null || info.source().isEmpty() ? "" : info.remaining();
      result = null;
      if (interrupted.get()) { // While it was read: there was nothing yet that could be stopped.
        return;
      }
      for (SnippetEvent event : shell.eval(source)) {
        if (event.causeSnippet() != null) {
          continue; // One that was waiting for this one.
        }
        if (event.status() == Snippet.Status.REJECTED) {
          rejected(event.snippet());
          return;
        }
        if (event.exception() != null) {
          thrown(event.exception());
          return;
        }
        if (interrupted.get()) {
          return;
        }
        result = shown(event);
      }
    }
    if (result != null) {
      say("{\"type\":\"result\",\"is_main_result\":true,\"text\":" + Json.text(result) + "}");
    }
  }

  /** Of an expression, or of a variable that is named; a declaration shows nothing. */
  private static String shown(SnippetEvent event) {
    Snippet snippet = event.snippet();
    boolean expression =
        snippet instanceof ExpressionSnippet
            || (snippet instanceof VarSnippet && snippet.subKind() == Snippet.SubKind.TEMP_VAR_EXPRESSION_SUBKIND);
    String value = event.value();
    if (!expression || value == null || value.isEmpty()) {
      return null;
    }
    boolean quoted = value.length() >= 2 && value.startsWith("\"") && value.endsWith("\"");
    return quoted ? value.substring(1, value.length() - 1) : value;
  }

  private void rejected(Snippet snippet) {
    List<String> problems = new ArrayList<>();
    List<Diag> diagnostics = shell.diagnostics(snippet).toList();
    for (Diag problem : diagnostics) {
      int from = (int) Math.max(0, problem.getStartPosition());
      int to = (int) Math.min(snippet.source().length(), Math.max(from, problem.getEndPosition()));
      problems.add(problem.getMessage(Locale.ENGLISH) + "\n    " + snippet.source().substring(from, to).strip());
    }
    String first = diagnostics.isEmpty() ? "it does not compile" : diagnostics.get(0).getMessage(Locale.ENGLISH).lines().findFirst().orElse("");
    error("CompilationError", first, String.join("\n", problems) + "\nin: " + snippet.source().strip());
  }

  private void thrown(JShellException exception) {
    if (exception instanceof EvalException) {
      EvalException known = (EvalException) exception;
      StringBuilder trace = new StringBuilder(known.getExceptionClassName() + ": " + known.getMessage());
      for (StackTraceElement frame : known.getStackTrace()) {
        trace.append("\n    at ").append(frame);
      }
      String name = known.getExceptionClassName();
      if (interrupted.get()) {
        return;
      }
      error(name.substring(name.lastIndexOf('.') + 1), String.valueOf(known.getMessage()), trace.toString());
    } else if (exception instanceof UnresolvedReferenceException) {
      Snippet snippet = ((UnresolvedReferenceException) exception).getSnippet();
      error("UnresolvedReference", "something that it uses is not there", snippet.source());
    } else {
      error("Error", String.valueOf(exception.getMessage()), exception.toString());
    }
  }

  private void error(String name, String value, String traceback) {
    say("{\"type\":\"error\",\"name\":" + Json.text(name) + ",\"value\":" + Json.text(value) + ",\"traceback\":" + Json.text(traceback) + "}");
  }

  /** Objects of strings and objects: all that is asked here. The JDK has no JSON of its own. */
  static final class Json {
    private final String text;
    private int at;

    private Json(String text) {
      this.text = text;
    }

    static Map<String, Object> read(String line) {
      return new Json(line).object();
    }

    private Map<String, Object> object() {
      Map<String, Object> found = new HashMap<>();
      expect('{');
      while (skip() != '}') {
        String name = string();
        expect(':');
        found.put(name, skip() == '{' ? object() : skip() == '"' ? string() : word());
        if (skip() == ',') {
          at++;
        }
      }
      at++;
      return found;
    }

    private char skip() {
      while (Character.isWhitespace(text.charAt(at))) {
        at++;
      }
      return text.charAt(at);
    }

    private void expect(char wanted) {
      if (skip() != wanted) {
        throw new IllegalArgumentException("no " + wanted + " at " + at);
      }
      at++;
    }

    private String word() {
      int from = at;
      while (",}".indexOf(text.charAt(at)) < 0) {
        at++;
      }
      return text.substring(from, at).strip();
    }

    private String string() {
      expect('"');
      StringBuilder value = new StringBuilder();
      for (char c = text.charAt(at++); c != '"'; c = text.charAt(at++)) {
        if (c != '\\') {
          value.append(c);
          continue;
        }
        char escaped = text.charAt(at++);
        switch (escaped) {
          case 'n' -> value.append('\n');
          case 't' -> value.append('\t');
          case 'r' -> value.append('\r');
          case 'b' -> value.append('\b');
          case 'f' -> value.append('\f');
          case 'u' -> {
            value.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
            at += 4;
          }
          default -> value.append(escaped);
        }
      }
      return value.toString();
    }

    static String text(String value) {
      StringBuilder quoted = new StringBuilder("\"");
      for (int i = 0; i < value.length(); i++) {
        char c = value.charAt(i);
        switch (c) {
          case '"' -> quoted.append("\\\"");
          case '\\' -> quoted.append("\\\\");
          case '\n' -> quoted.append("\\n");
          case '\r' -> quoted.append("\\r");
          case '\t' -> quoted.append("\\t");
          default -> {
            if (c < 32 || Character.isSurrogate(c)) {
              quoted.append(String.format("\\u%04x", (int) c));
            } else {
              quoted.append(c);
            }
          }
        }
      }
      return quoted.append('"').toString();
    }
  }
}
